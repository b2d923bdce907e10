//! Which keys may be changed, and which schema a value must match: by key and by tenant, the first rule that fits.

use crate::{
    config::{KeyRules, SchemaRule},
    library::Library,
    names::Detail,
    schema::{self, Source},
    tenants::Tenants,
};
use lockstep_plugin_api::prelude::*;

/// Which keys may be changed.
#[derive(Debug)]
pub struct KeyCheck {
    /// The last one is everybody's.
    rules: Vec<(Tenants, Allowed)>,
}

#[derive(Debug)]
struct Allowed {
    allow: Vec<Glob>,
    deny: Vec<Glob>,
}

impl Allowed {
    fn new(allow: &[String], deny: &[String], at: &str) -> Result<Self> {
        Ok(Self { allow: globs(allow, &format!("{at}.allow"))?, deny: globs(deny, &format!("{at}.deny"))? })
    }

    fn contains(&self, key: &str) -> bool {
        let is_allowed = self.allow.is_empty() || self.allow.iter().any(|glob| glob.matches(key));
        is_allowed && !self.deny.iter().any(|glob| glob.matches(key))
    }
}

impl KeyCheck {
    /// Compiles the globs.
    ///
    /// # Errors
    /// `Config` at the pattern that is none.
    pub fn new(config: &KeyRules) -> Result<Self> {
        let mut rules = Vec::with_capacity(config.by_tenant.len() + 1);
        for (i, rule) in config.by_tenant.iter().enumerate() {
            let at = format!("keys.by_tenant.{i}");
            let tenants = Tenants::read(Some(&rule.tenant), &format!("{at}.tenant"))?;
            rules.push((tenants, Allowed::new(&rule.allow, &rule.deny, &at)?));
        }
        rules.push((Tenants::everybody(), Allowed::new(&config.allow, &config.deny, "keys")?));
        Ok(Self { rules })
    }

    /// Refuses a key that may not be changed.
    ///
    /// # Errors
    /// `Rejected` as `bad_key`.
    pub fn check(&self, tenant: Option<&str>, key: &str) -> Result<()> {
        let rule = self.rules.iter().find(|(tenants, _)| tenants.fit(tenant));
        if rule.is_none_or(|(_, allowed)| allowed.contains(key)) {
            return Ok(());
        }
        let detail = Detail {
            path: "/config_key",
            reason: "is not among the keys that may be changed here".to_owned(),
        };
        Err(Error::rejected("bad_key", "the config key may not be changed here").with_details(&[detail]))
    }
}

/// Which schema a value must match.
#[derive(Debug)]
pub struct SchemaRules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    keys: Glob,
    tenants: Tenants,
    /// In the library.
    schema: usize,
}

impl SchemaRules {
    /// Checks the patterns and opens no file.
    ///
    /// # Errors
    /// `Config` at the pattern that is none.
    pub fn check(config: &[SchemaRule]) -> Result<()> {
        config.iter().enumerate().try_for_each(|(i, rule)| patterns(i, rule).map(drop))
    }

    /// Reads and compiles every schema, and says which cannot be used.
    pub fn advise(config: &[SchemaRule], advice: &mut Advice) {
        let mut seen = Vec::new();
        for (i, rule) in config.iter().enumerate() {
            let source = Source::new(&rule.schema, |path| advice.resolve(path));
            if seen.contains(&source) {
                continue;
            }
            if let Err(error) = schema::compile(&source).take() {
                advice.refuse(error.at(place(i)));
            }
            seen.push(source);
        }
    }

    /// Reads and compiles the schemas into the library.
    ///
    /// # Errors
    /// `Config` at the rule that cannot be used.
    pub fn new(config: &[SchemaRule], library: &mut Library, context: &Context) -> Result<Self> {
        let mut rules = Vec::with_capacity(config.len());
        for (i, rule) in config.iter().enumerate() {
            let (keys, tenants) = patterns(i, rule)?;
            let source = Source::new(&rule.schema, |path| context.resolve(path));
            let schema = library.add(source).map_err(|error| error.at(place(i)))?;
            rules.push(Rule { keys, tenants, schema });
        }
        Ok(Self(rules))
    }

    /// The number of the schema for the values of a key; `None` if no rule is about it.
    pub fn schema(&self, tenant: Option<&str>, key: &str) -> Option<usize> {
        self.0.iter().find(|rule| rule.keys.matches(key) && rule.tenants.fit(tenant)).map(|rule| rule.schema)
    }
}

fn place(i: usize) -> String {
    format!("schemas.{i}.schema")
}

fn patterns(i: usize, rule: &SchemaRule) -> Result<(Glob, Tenants)> {
    let keys = glob(&rule.pattern, &format!("schemas.{i}.match"))?;
    Ok((keys, Tenants::read(rule.tenant.as_ref(), &format!("schemas.{i}.tenant"))?))
}

fn glob(text: &str, at: &str) -> Result<Glob> {
    Glob::new(text).map_err(|error| Error::config(format!("`{text}` is not a glob: {error}")).at(at))
}

fn globs(texts: &[String], at: &str) -> Result<Vec<Glob>> {
    texts.iter().enumerate().map(|(i, text)| glob(text, &format!("{at}.{i}"))).collect()
}
