//! A source and a transform that break the accounting of records.
//!
//! The author's interface stamps and counts for its authors, so this is written against the boundary itself, as a plugin
//! in another language or with a bug of its own might be. It exports its root module by hand for the same reason.

mod lie;
mod source;
mod transform;

use abi_stable::std_types::{RErr, RStr, RString};
use lie::LieConfig;
use lockstep_plugin_api::{
    __private::{
        __call_root_module_loader, AdviceParts, Answer, CheckTypeLayout, ComponentParts, LibHeader,
        LogHostBox, OpenedSource, PluginModuleRef, RootModuleResult, SinkBox, TransformBox, answer, guard,
        init, json_len, metadata, read_config, root_module, schema_of,
    },
    Error,
};

const BEFORE: &str = concat!(
    r#"{"package":"lockstep-plugin-liar","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","description":"#
);
const DESCRIPTION: &str = env!("CARGO_PKG_DESCRIPTION");
const AFTER: &str = r#","plugin_api":"1.0.0","components":[{"kind":"source","name":"liar"},{"kind":"transform","name":"liar"}]}"#;

#[used]
#[unsafe(link_section = ".lockstep.meta")]
static METADATA: [u8; BEFORE.len() + json_len(DESCRIPTION) + AFTER.len()] =
    metadata(BEFORE, DESCRIPTION, AFTER);

extern "C" fn start(host: LogHostBox) -> Answer<()> {
    answer(init(host, env!("CARGO_PKG_NAME")))
}

extern "C" fn config_schema(_kind: RStr<'_>, _name: RStr<'_>) -> Answer<RString> {
    answer(guard("config_schema", schema_of::<LieConfig>))
}

extern "C" fn check_config(
    _kind: RStr<'_>,
    _name: RStr<'_>,
    config: RStr<'_>,
    _base_dir: RStr<'_>,
) -> Answer<AdviceParts> {
    answer(guard("config", || read_config::<LieConfig>(&config).map(|_| AdviceParts::default())))
}

extern "C" fn new_source(_name: RStr<'_>, config: RStr<'_>, parts: ComponentParts) -> Answer<OpenedSource> {
    answer(guard("new", || source::open(read_config(&config)?, parts)))
}

extern "C" fn new_transform(
    _name: RStr<'_>,
    config: RStr<'_>,
    _parts: ComponentParts,
) -> Answer<TransformBox> {
    answer(guard("new", || Ok(transform::open(read_config(&config)?))))
}

extern "C" fn new_sink(_name: RStr<'_>, _config: RStr<'_>, _parts: ComponentParts) -> Answer<SinkBox> {
    RErr(Error::config("this plugin has no sink"))
}

fn module() -> PluginModuleRef {
    let text = std::str::from_utf8(&METADATA).unwrap_or_default();
    root_module(text, start, config_schema, check_config, new_source, new_transform, new_sink)
}

extern "C" fn load_root_module() -> RootModuleResult {
    __call_root_module_loader(module)
}

// The name is the one that the host looks up.
#[unsafe(no_mangle)]
pub static _1as_0lib_1header_0root_bmodule_bloader: LibHeader =
    // SAFETY: `load_root_module` gives the module of the very type named here, with its layout checked.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(load_root_module, CheckTypeLayout::Yes) };
