//! The boundary between host and plugin. Authors of plugins see nothing of it; the host and `export_plugin!` do.
//!
//! The only `unsafe` of this crate is here and in what `export_plugin!` expands to.

pub mod bytes;
pub mod vtable;
pub mod guard;
pub mod runtime;
pub mod logs;
pub mod adapt;
pub mod handshake;

pub use bytes::{Bytes, Text};

/// Records as they cross the boundary by ownership. A `Vec` would have to be copied: each side frees with its own
/// allocator.
pub type Records = abi_stable::std_types::RVec<crate::record::Record>;

/// What the host needs of `abi_stable`, so that only this crate depends on it.
pub mod types {
    pub use abi_stable::{
        library::AbiHeaderRef,
        sabi_trait::prelude::TD_Opaque,
        std_types::{RArc, RErr, RNone, ROk, ROption, RSlice, RSome, RStr, RString, RVec},
    };
}
