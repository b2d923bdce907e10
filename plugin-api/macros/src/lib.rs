//! `#[config]`: one attribute that makes a struct or enum readable from a pipeline file.

use proc_macro::{TokenStream, TokenTree};

/// Makes a type the `config:` of a component, or a part of it.
///
/// A struct gets serde's `Deserialize` with unknown fields refused, and a JSON Schema made from its doc comments;
/// an enum gets the same with its variants written in `snake_case`.
/// The crates are reached through `lockstep_plugin_api`, so a plugin does not depend on them itself.
#[proc_macro_attribute]
pub fn config(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    let is_enum = item
        .clone()
        .into_iter()
        .any(|token| matches!(&token, TokenTree::Ident(word) if word.to_string() == "enum"));
    let shape = if is_enum { r#"rename_all = "snake_case""# } else { "deny_unknown_fields" };
    let attributes = format!(
        r#"
        #[derive(::lockstep_plugin_api::serde::Deserialize, ::lockstep_plugin_api::schemars::JsonSchema)]
        #[serde(crate = "::lockstep_plugin_api::serde", {shape})]
        #[schemars(crate = "::lockstep_plugin_api::schemars")]
        "#
    );
    let mut out: TokenStream = attributes.parse().expect("the attribute list is valid Rust");
    out.extend(item);
    out
}
