//! Whose changes a rule is about.

use lockstep_plugin_api::{names::tenant_problem, prelude::*};

/// What stands for changes without a tenant, as in lock names and topics; no tenant can be called that.
pub const WITHOUT_TENANT: &str = "global";

/// What starts a pattern that is more than a name.
const WILDCARDS: [char; 4] = ['*', '?', '[', '+'];

/// Globs over tenants, one or several; `global` stands for the changes without a tenant.
#[config]
#[serde(untagged, expecting = "expected a tenant, a glob over tenants, or a list of them")]
pub enum TenantPatterns {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// The tenants that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenants {
    names: Vec<Glob>,
    /// Whether changes without a tenant are meant too.
    nobody: bool,
}

impl Tenants {
    /// Everybody, and changes without a tenant.
    pub fn everybody() -> Self {
        Self { names: vec![Glob::new("*").expect("a glob")], nobody: true }
    }

    /// Those of a rule that was written at this place; without patterns, everybody.
    ///
    /// # Errors
    /// `Config` at the pattern that can name nobody.
    pub fn read(patterns: Option<&TenantPatterns>, at: &str) -> Result<Self> {
        let (texts, is_list) = match patterns {
            None => return Ok(Self::everybody()),
            Some(TenantPatterns::One(text)) => (std::slice::from_ref(text), false),
            Some(TenantPatterns::Several(texts)) => (texts.as_slice(), true),
        };
        if texts.is_empty() {
            return Err(
                Error::config("an empty list names no tenant; leave `tenant` out for everybody").at(at)
            );
        }
        let mut tenants = Self { names: Vec::new(), nobody: false };
        for (i, text) in texts.iter().enumerate() {
            let at = if is_list { format!("{at}.{i}") } else { at.to_owned() };
            tenants.add(text).map_err(|why| Error::config(why).at(at))?;
        }
        Ok(tenants)
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        if text == WITHOUT_TENANT {
            self.nobody = true;
            return Ok(());
        }
        let problem = tenant_problem(text).filter(|_| text.is_empty() || !text.contains(WILDCARDS));
        if let Some(problem) = problem {
            let for_nobody = format!("for changes without a tenant write `{WITHOUT_TENANT}`");
            return Err(format!("`{text}` can be no tenant, because it {problem}; {for_nobody}"));
        }
        self.names.push(Glob::new(text).map_err(|error| format!("`{text}` is not a glob: {error}"))?);
        Ok(())
    }

    /// Whether a change is one of theirs.
    pub fn fit(&self, tenant: Option<&str>) -> bool {
        tenant.map_or(self.nobody, |tenant| self.names.iter().any(|glob| glob.matches(tenant)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(texts: &[&str]) -> Result<Tenants> {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        Tenants::read(Some(&TenantPatterns::Several(texts)), "tenant")
    }

    fn fits(texts: &[&str], tenant: Option<&str>) -> bool {
        tenants(texts).expect("patterns").fit(tenant)
    }

    #[test]
    fn without_patterns_everybody_is_meant() {
        let everybody = Tenants::read(None, "tenant").expect("nothing can be wrong");
        assert!(everybody.fit(None) && everybody.fit(Some("acme")));
    }

    #[test]
    fn a_pattern_names_tenants_and_global_those_who_have_none() {
        assert!(fits(&["acme"], Some("acme")) && !fits(&["acme"], Some("acme2")) && !fits(&["acme"], None));
        assert!(fits(&["eu-*", "us-1"], Some("eu-7")) && fits(&["eu-*", "us-1"], Some("us-1")));
        assert!(fits(&["*"], Some("acme")) && !fits(&["*"], None), "a glob is about names");
        assert!(fits(&["global"], None) && !fits(&["global"], Some("acme")));
        assert!(fits(&["*", "global"], None) && fits(&["*", "global"], Some("acme")));
    }

    #[test]
    fn what_can_name_nobody_is_refused_at_its_place() {
        for (texts, at, says) in [
            (&[][..], "tenant", "empty list"),
            (&["acme", ""], "tenant.1", "write `global`"),
            (&["default"], "tenant.0", "reserved"),
            (&["a b"], "tenant.0", "character"),
            (&["a", "[b"], "tenant.1", "not a glob"),
        ] {
            let error = tenants(texts).expect_err(says);
            assert_eq!(error.detail(), at, "{error}");
            assert!(error.message().contains(says), "{error}");
        }
        let alone = Tenants::read(Some(&TenantPatterns::One(String::new())), "tenant").expect_err("nobody");
        assert_eq!(alone.detail(), "tenant");
    }
}
