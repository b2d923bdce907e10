//! `export_plugin!`: from a list of components to a loadable library.

/// Makes this crate a plugin with these components.
///
/// ```text
/// export_plugin! {
///     async_source "clock" => Clock,
///     transform "uppercase" => Uppercase,
///     sink "print" => Print,
/// }
/// ```
/// Kinds: `source`, `async_source`, `transform`, `sink`, `async_sink`, `pipelined_sink`. Flags go in parentheses after the
/// name: `transform "resolver" (commits) => Resolver` for a component that commits to the log, `(notices)` for one that
/// is given notices beside changes, `(answers)` for a source that tells the author of a record what became of it
/// (`Emitter::request` needs it),
/// `(replays)` for a source that reads again from the last committed position after a crash, `(may_replay)` if that
/// depends on its configuration, which says more by `advise`. By these `lockstep validate` tells what a pipeline guarantees.
///
/// The crate must be a `cdylib` only: two plugins linked into one binary would share the one exported symbol.
#[macro_export]
macro_rules! export_plugin {
    ($($kind:ident $name:literal $(($($flag:ident),+))? => $component:ty),+ $(,)?) => {
        #[cfg(panic = "abort")]
        compile_error!("a Lockstep plugin must be built with panic = \"unwind\": with \"abort\" one panic ends the whole host");
        const _: () = {
            use $crate::__private as p;

            const BEFORE: &str = concat!(
                "{\"package\":\"", env!("CARGO_PKG_NAME"),
                "\",\"version\":\"", env!("CARGO_PKG_VERSION"),
                "\",\"description\":",
            );
            // The one text that is not made of plain letters.
            const DESCRIPTION: &str = env!("CARGO_PKG_DESCRIPTION");
            const AFTER: &str = concat!(
                ",\"plugin_api\":\"", $crate::__api_version!(),
                "\",\"components\":[",
                $crate::__components!($([$kind $name $($($flag)+)?])+),
                "]}"
            );
            #[used]
            #[unsafe(link_section = ".lockstep.meta")]
            static METADATA: [u8; BEFORE.len() + p::json_len(DESCRIPTION) + AFTER.len()] =
                p::metadata(BEFORE, DESCRIPTION, AFTER);

            extern "C" fn init(host: p::LogHostBox) -> p::Answer<()> {
                p::answer(p::init(host, env!("CARGO_PKG_NAME")))
            }
            extern "C" fn config_schema(kind: p::RStr<'_>, name: p::RStr<'_>) -> p::Answer<p::RString> {
                p::answer(p::guard("config_schema", || {
                    $(if $crate::__kind!($kind) == kind.as_str() && $name == name.as_str() {
                        return p::schema_of::<$crate::__of!($kind $component, Config)>();
                    })+
                    Err(p::unknown(&kind, &name))
                }))
            }
            extern "C" fn check_config(
                kind: p::RStr<'_>, name: p::RStr<'_>, config: p::RStr<'_>, base_dir: p::RStr<'_>,
            ) -> p::Answer<p::AdviceParts> {
                p::answer(p::guard("config", || {
                    $(if $crate::__kind!($kind) == kind.as_str() && $name == name.as_str() {
                        let (check, advise) = ($crate::__of!($kind $component, check), $crate::__of!($kind $component, advise));
                        return p::advice(&config, &base_dir, check, advise);
                    })+
                    Err(p::unknown(&kind, &name))
                }))
            }
            extern "C" fn new_source(
                name: p::RStr<'_>, config: p::RStr<'_>, parts: p::ComponentParts,
            ) -> p::Answer<p::OpenedSource> {
                p::answer(p::guard("new", || {
                    $($crate::__new!(source $kind $name $component, name, config, parts);)+
                    let _ = (&config, &parts);
                    Err(p::unknown("source", &name))
                }))
            }
            extern "C" fn new_transform(
                name: p::RStr<'_>, config: p::RStr<'_>, parts: p::ComponentParts,
            ) -> p::Answer<p::TransformBox> {
                p::answer(p::guard("new", || {
                    $($crate::__new!(transform $kind $name $component, name, config, parts);)+
                    let _ = (&config, &parts);
                    Err(p::unknown("transform", &name))
                }))
            }
            extern "C" fn new_sink(
                name: p::RStr<'_>, config: p::RStr<'_>, parts: p::ComponentParts,
            ) -> p::Answer<p::SinkBox> {
                p::answer(p::guard("new", || {
                    $($crate::__new!(sink $kind $name $component, name, config, parts);)+
                    let _ = (&config, &parts);
                    Err(p::unknown("sink", &name))
                }))
            }
            fn root_module() -> p::PluginModuleRef {
                // Read through the section's bytes, so that the linker keeps them.
                let metadata = ::core::str::from_utf8(&METADATA).unwrap_or_default();
                p::root_module(metadata, init, config_schema, check_config, new_source, new_transform, new_sink)
            }
            extern "C" fn load_root_module() -> p::RootModuleResult {
                p::__call_root_module_loader(root_module)
            }
            // The name is abi_stable's; the host looks this one symbol up.
            #[unsafe(no_mangle)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: p::LibHeader =
                // SAFETY: `load_root_module` gives the module of the very type named here, with its layout checked.
                unsafe { p::LibHeader::from_constructor::<p::PluginModuleRef>(load_root_module, p::CheckTypeLayout::Yes) };
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __components {
    ([$kind:ident $name:literal $($flag:ident)*]) => {
        concat!("{\"kind\":\"", $crate::__kind!($kind), "\",\"name\":\"", $name, "\"" $(, ",\"", stringify!($flag), "\":true")*, "}")
    };
    ($first:tt $($rest:tt)+) => { concat!($crate::__components!($first), ",", $crate::__components!($($rest)+)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __kind {
    (source) => {
        "source"
    };
    (async_source) => {
        "source"
    };
    (transform) => {
        "transform"
    };
    (sink) => {
        "sink"
    };
    (async_sink) => {
        "sink"
    };
    (pipelined_sink) => {
        "sink"
    };
}

/// An item of the trait that a kind of component implements.
#[doc(hidden)]
#[macro_export]
macro_rules! __of {
    (source $component:ty, $item:ident) => {
        <$component as $crate::Source>::$item
    };
    (async_source $component:ty, $item:ident) => {
        <$component as $crate::AsyncSource>::$item
    };
    (transform $component:ty, $item:ident) => {
        <$component as $crate::Transform>::$item
    };
    (sink $component:ty, $item:ident) => {
        <$component as $crate::Sink>::$item
    };
    (async_sink $component:ty, $item:ident) => {
        <$component as $crate::AsyncSink>::$item
    };
    (pipelined_sink $component:ty, $item:ident) => {
        <$component as $crate::PipelinedSink>::$item
    };
}

/// Returns the component if the list entry is of the wanted kind and name; expands to nothing for another kind.
#[doc(hidden)]
#[macro_export]
macro_rules! __new {
    (source source $($rest:tt)+) => { $crate::__new!(@ source $($rest)+) };
    (source async_source $($rest:tt)+) => { $crate::__new!(@ async_source $($rest)+) };
    (transform transform $($rest:tt)+) => { $crate::__new!(@ transform $($rest)+) };
    (sink sink $($rest:tt)+) => { $crate::__new!(@ sink $($rest)+) };
    (sink async_sink $($rest:tt)+) => { $crate::__new!(@ async_sink $($rest)+) };
    (sink pipelined_sink $($rest:tt)+) => { $crate::__new!(@ pipelined_sink $($rest)+) };
    (@ $make:ident $name:literal $component:ty, $wanted:ident, $config:ident, $parts:ident) => {
        if $wanted.as_str() == $name {
            return p::$make::<$component>(&$config, $parts);
        }
    };
    ($wanted:ident $kind:ident $($rest:tt)+) => {};
}

/// The version of the boundary as a literal, for the metadata section; a test compares it with the crate's.
#[doc(hidden)]
#[macro_export]
macro_rules! __api_version {
    () => {
        "1.0.0"
    };
}

/// How many bytes a text is as a JSON string.
pub const fn json_len(text: &str) -> usize {
    let (text, mut len, mut i) = (text.as_bytes(), 2, 0);
    while i < text.len() {
        len += match text[i] {
            b'"' | b'\\' => 2,
            ..0x20 => 6,
            _ => 1,
        };
        i += 1;
    }
    len
}

/// The bytes of the metadata section: JSON with a text in it that is still to be quoted. `N` is the sum of the lengths,
/// with [`json_len`] for the text.
pub const fn metadata<const N: usize>(before: &str, text: &str, after: &str) -> [u8; N] {
    let (mut bytes, mut end) = ([0; N], 0);
    end = copy(&mut bytes, end, before.as_bytes());
    end = copy(&mut bytes, end, b"\"");
    let (text, mut i) = (text.as_bytes(), 0);
    while i < text.len() {
        end = match text[i] {
            byte @ (b'"' | b'\\') => copy(&mut bytes, end, &[b'\\', byte]),
            byte @ ..0x20 => copy(
                &mut bytes,
                end,
                &[b'\\', b'u', b'0', b'0', HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]],
            ),
            byte => copy(&mut bytes, end, &[byte]),
        };
        i += 1;
    }
    end = copy(&mut bytes, end, b"\"");
    end = copy(&mut bytes, end, after.as_bytes());
    assert!(end == N);
    bytes
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Copies a part to where the last one ended, and gives the new end.
const fn copy(bytes: &mut [u8], start: usize, part: &[u8]) -> usize {
    let mut i = 0;
    while i < part.len() {
        bytes[start + i] = part[i];
        i += 1;
    }
    start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::handshake::Metadata;

    #[test]
    fn a_description_with_quotes_and_lines_is_still_json() {
        const BEFORE: &str = r#"{"package":"p","version":"1","description":"#;
        const DESCRIPTION: &str = "says \"no\" to C:\\ — in\ntwo lines";
        const AFTER: &str = r#","plugin_api":"1.0.0","components":[]}"#;
        static BYTES: [u8; BEFORE.len() + json_len(DESCRIPTION) + AFTER.len()] =
            metadata(BEFORE, DESCRIPTION, AFTER);
        let read: Metadata = serde_json::from_slice(&BYTES).expect("JSON");
        assert_eq!(read.description, DESCRIPTION);
    }

    #[test]
    fn the_metadata_names_this_crates_version() {
        assert_eq!(crate::__api_version!(), crate::abi::handshake::API_VERSION);
    }
}
