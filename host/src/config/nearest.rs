//! The valid name that a wrong one was probably meant to be.

/// The nearest of `valid`, if it is near enough to have been meant.
pub(crate) fn nearest<'a>(wrong: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (wrong.chars().count() / 3).max(1);
    valid
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= most || is_part(wrong, name))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `did you mean ...`, else the whole list while it is short enough to read.
pub(crate) fn suggest(wrong: &str, valid: &[&str]) -> Option<String> {
    if let Some(name) = nearest(wrong, valid.iter().copied()) {
        return Some(format!("did you mean `{name}`?"));
    }
    expected(valid)
}

/// ``expected one of `a`, `b` ``, or nothing for an empty or a very long list.
pub(crate) fn expected(valid: &[&str]) -> Option<String> {
    match valid {
        [] => None,
        [only] => Some(format!("expected `{only}`")),
        _ if valid.len() > 30 => None,
        _ => Some(format!(
            "expected one of {}",
            valid.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// `servers` for `bootstrap_servers`: a whole word of the name, and not a short one.
fn is_part(wrong: &str, name: &str) -> bool {
    wrong.len() > 3 && name.split(['_', '-', '.']).any(|word| word == wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(nearest("timout", ["key_prefix", "timeout"]), Some("timeout"));
        assert_eq!(nearest("servers", ["bootstrap_servers", "sinks"]), Some("bootstrap_servers"));
        assert_eq!(nearest("Plugin", ["plugin"]), Some("plugin"));
        assert_eq!(nearest("banana", ["key_prefix", "timeout"]), None);
        assert_eq!(suggest("banana", &["a", "b"]), Some("expected one of `a`, `b`".into()));
    }
}
