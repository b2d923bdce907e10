//! What a Lockstep plugin is written against.
//!
//! A plugin is a dynamic library with one or more components of three kinds:
//!
//! - a [`Source`] (or [`AsyncSource`]) gives records,
//! - a [`Transform`] changes, drops or splits them,
//! - a [`Sink`] (or [`AsyncSink`], [`PipelinedSink`]) writes them.
//!
//! Write a configuration with [`config`], implement a trait, and list the component in [`export_plugin!`]. No `unsafe`, no
//! type of the boundary: the host's calls, panics, accounting and threads are taken care of here.
//! `README.md` beside this crate leads through a whole plugin; [`testing`] drives one without a host.

// abi_stable's `#[sabi_trait]` expands to such impls.
#![allow(non_local_definitions)]

pub mod record;
pub mod change;
pub mod causality;
pub mod wire;
pub mod sealed;
pub mod source;
pub mod transform;
pub mod sink;
pub mod tally;
pub mod context;
pub mod metrics;
pub mod state;
pub mod submit;
pub mod log;
pub mod operations;
pub mod error;
pub mod advice;
pub mod config;
pub mod glob;
pub mod keys;
pub mod key_material;
mod paths;
pub mod names;
pub mod backoff;
pub mod time;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod export;
#[doc(hidden)]
pub mod abi;

pub use abi::{Bytes, Text, guard::awaiting_panic};
pub use advice::{Advice, Way};
pub use change::{Change, Json};
pub use context::Context;
pub use error::{Error, ErrorKind, Result};
pub use operations::Operations;
pub use record::{Batch, Position, Record};
pub use sink::{AsyncSink, PipelinedSink, Sink};
pub use source::{AsyncSource, Source};
pub use transform::Transform;

#[doc(inline)]
pub use lockstep_plugin_api_macros::config;
#[doc(hidden)]
pub use {schemars, serde};

/// Everything a component needs: `use lockstep_plugin_api::prelude::*;`
pub mod prelude {
    pub use crate::{Bytes, Text};
    pub use crate::{
        advice::{Advice, Way},
        bail,
        change::{Change, Json},
        config,
        config::{ClientTls, Millis, Seconds, Secret, ServerTls, Size},
        context::Context,
        error::{Error, ErrorKind, Result},
        export_plugin,
        glob::Glob,
        keys::Keys,
        log::{EntryAt, LogPosition, Replay, Replayed},
        metrics::{Counter, Gauge, Histogram},
        operations::{Caller, Operations},
        record::{Batch, Position, Record},
        sink::{Acked, AsyncSink, Failures, PipelinedSink, Sink},
        source::{AsyncSource, Emitter, Outcome, OutcomeResult, Replies, Source},
        state::{Committed, State, StateCommit},
        submit::Submitted,
        transform::{Output, Transform},
        wire::Form,
    };
}

/// What `export_plugin!` expands to calls of. Not for authors.
#[doc(hidden)]
pub mod __private {
    pub use crate::abi::{
        adapt::{
            advice, async_sink, async_source, checked_config, pipelined_sink, read_config, schema_of, sink,
            source, transform, unknown,
        },
        guard::{answer, guard},
        vtable::{
            AdviceParts, Answer, ComponentParts, LogHostBox, OpenedSource, PluginModule, PluginModuleRef,
            SinkBox, TransformBox,
        },
    };
    pub use crate::export::{json_len, metadata};
    use abi_stable::prefix_type::PrefixTypeTrait;
    pub use abi_stable::{
        library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult},
        std_types::{RStr, RString},
    };

    /// The first call into a plugin: logging and the panic hook.
    pub fn init(host: LogHostBox, package: &'static str) -> crate::Result<()> {
        guard("init", || {
            crate::abi::logs::install(host);
            crate::abi::guard::install_panic_hook(package);
            Ok(())
        })
    }

    /// Builds the root module from its entry points.
    pub fn root_module(
        metadata: &'static str,
        init: extern "C" fn(LogHostBox) -> Answer<()>,
        config_schema: extern "C" fn(RStr<'_>, RStr<'_>) -> Answer<RString>,
        check_config: extern "C" fn(RStr<'_>, RStr<'_>, RStr<'_>, RStr<'_>) -> Answer<AdviceParts>,
        new_source: extern "C" fn(RStr<'_>, RStr<'_>, ComponentParts) -> Answer<OpenedSource>,
        new_transform: extern "C" fn(RStr<'_>, RStr<'_>, ComponentParts) -> Answer<TransformBox>,
        new_sink: extern "C" fn(RStr<'_>, RStr<'_>, ComponentParts) -> Answer<SinkBox>,
    ) -> PluginModuleRef {
        PluginModule {
            metadata: metadata.into(),
            init,
            refresh_log_filter: crate::abi::logs::refresh_filter,
            config_schema,
            check_config,
            new_source,
            new_transform,
            new_sink,
        }
        .leak_into_prefix()
    }
}
