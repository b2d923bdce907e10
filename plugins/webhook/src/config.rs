//! What `plugin: webhook` accepts under `config:`, and the checks that need nothing but the text.

use crate::{
    body::{Body, Template},
    events::{self, Events},
    receiver::Receiver,
    signature::Signer,
};
use lockstep_plugin_api::{config::ClientTls, prelude::*};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::{collections::BTreeMap, time::Duration};

/// A call of the host may take 10 s; no single request takes longer than that.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);

const MOST_IN_FLIGHT: u16 = 32;
const MOST_RECEIVERS: usize = 16;

/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// Headers that the plugin or HTTP itself sets.
const OWN_HEADERS: [&str; 8] =
    ["connection", "content-length", "content-type", "host", "te", "trailer", "transfer-encoding", "upgrade"];

/// What `plugin: webhook` accepts under `config:`.
#[config]
#[serde(default)]
pub(crate) struct WebhookConfig {
    /// Where to POST, `http://` or `https://`. A secret, because many services put a token into it. Default with
    /// `template: pagerduty`: `https://events.pagerduty.com/v2/enqueue`.
    url: Option<Secret>,
    /// Several receivers in place of `url`, at most 16. Each gets every message, in order; a record is written when all
    /// have taken it, so one that is away holds back the others' progress.
    urls: Vec<Secret>,
    /// Which event types are told, as globs: `conflict_*`, or `"*"` for all. Default: `conflict_detected` and
    /// `conflict_resolved`. Everything else counts as written at once.
    on: Vec<String>,
    /// What a message looks like: `raw` (the event as JSON), `slack` (an incoming webhook's blocks) or `pagerduty` (Events
    /// API v2). Default: `raw`.
    template: Option<TemplateName>,
    /// A message of your own in place of `template`: JSON with placeholders such as `{{config_key}}` or
    /// `{{metadata.conflict_id}}`. Inside a string a placeholder becomes escaped text, elsewhere JSON.
    body: Option<String>,
    /// Whether messages carry old and new values. Default: true, with `template: slack` and `pagerduty` false.
    values: Option<bool>,
    /// The integration key of a PagerDuty service; with `template: pagerduty` only.
    routing_key: Option<Secret>,
    /// The severity of a PagerDuty alert. Default: `warning`, `error` for a conflict that waits for somebody's decision;
    /// one that was escalated is `critical` in any case.
    severity: Option<Severity>,
    /// Headers of every request, such as `Authorization`.
    headers: BTreeMap<String, Secret>,
    /// Signs every request as Standard Webhooks has it: `whsec_` and the key in base64, or any text of at least 24 bytes.
    secret: Option<Secret>,
    /// The secret before the current one: requests carry a signature by each while receivers move from one to the other.
    previous_secret: Option<Secret>,
    /// How long a request may take, answer included, 100 ms to 10 s.
    timeout: Seconds,
    /// How many requests to one receiver may be under way at once, 1 to 32. With 1 messages arrive in the order of the log;
    /// with more only those of one key do.
    concurrency: u16,
    /// For how long a message is tried that the receiver answers with a server error (5xx), before its record fails and
    /// goes by `on_error`. Without it, for ever. A receiver that gives no answer at all is always waited for.
    retry_for: Option<Seconds>,
    /// Whom to believe and what to show by TLS; without it, the authorities the system trusts.
    ssl_context: Option<ClientTls>,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            url: None,
            urls: Vec::new(),
            on: events::DEFAULT.map(str::to_owned).to_vec(),
            template: None,
            body: None,
            values: None,
            routing_key: None,
            severity: None,
            headers: BTreeMap::new(),
            secret: None,
            previous_secret: None,
            timeout: Seconds(Duration::from_secs(5)),
            concurrency: 1,
            retry_for: None,
            ssl_context: None,
        }
    }
}

/// What a message looks like.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TemplateName {
    /// The event as JSON.
    Raw,
    /// Blocks for a Slack incoming webhook.
    Slack,
    /// An event for PagerDuty's Events API v2.
    Pagerduty,
}

/// How bad PagerDuty is told it is.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warning,
    /// Something is wrong.
    Error,
    /// Somebody has to act now.
    Critical,
}

/// A configuration that was checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) events: Events,
    pub(crate) body: Body,
    pub(crate) headers: HeaderMap,
    pub(crate) signer: Option<Signer>,
    pub(crate) timeout: Duration,
    pub(crate) concurrency: u16,
    pub(crate) retry_for: Option<Duration>,
    pub(crate) ssl_context: Option<ClientTls>,
}

impl WebhookConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// `Config` at the field.
    pub(crate) fn settings(&self) -> Result<Settings> {
        Ok(Settings {
            receivers: self.receivers()?,
            events: self.events()?,
            body: self.message_body()?,
            headers: self.header_map()?,
            signer: self.signer()?,
            timeout: self.request_timeout()?,
            concurrency: self.checked_concurrency()?,
            retry_for: self.checked_retry_for()?,
            ssl_context: self.tls()?,
        })
    }

    /// What an operator should know about a configuration that can be used.
    pub(crate) fn advise(&self, advice: &mut Advice) {
        for (receiver, field) in self.receivers().unwrap_or_default().iter().zip(self.url_fields()) {
            if receiver.is_plain_elsewhere() {
                let shown = receiver.shown();
                advice.warn(&field, &format!("{shown} is spoken to without TLS: everybody on the way can read and change what is sent"));
            }
        }
        for (i, pattern) in self.on.iter().enumerate() {
            if let Some(doubt) = events::doubt(pattern) {
                advice.warn(&format!("on.{i}"), &doubt);
            }
        }
    }

    fn is_pagerduty(&self) -> bool {
        self.template == Some(TemplateName::Pagerduty)
    }

    /// The field that each receiver was written in.
    fn url_fields(&self) -> Vec<String> {
        match self.urls.len() {
            0 => vec!["url".to_owned()],
            n => (0..n).map(|i| format!("urls.{i}")).collect(),
        }
    }

    fn receivers(&self) -> Result<Vec<Receiver>> {
        let default = Secret::from(PAGERDUTY);
        let urls: Vec<&Secret> = match (&self.url, self.urls.is_empty()) {
            (Some(_), false) => {
                return Err(Error::config("`url` and `urls` both say where to POST: write one").at("urls"));
            }
            (Some(url), true) => vec![url],
            (None, false) => self.urls.iter().collect(),
            (None, true) if self.is_pagerduty() => vec![&default],
            (None, true) => {
                return Err(Error::config("`url` is missing: it says where to POST").at("url"));
            }
        };
        if urls.len() > MOST_RECEIVERS {
            let message =
                format!("`urls` has at most {MOST_RECEIVERS} receivers: write another sink for more");
            return Err(Error::config(message).at("urls"));
        }
        let mut receivers: Vec<Receiver> = Vec::with_capacity(urls.len());
        for (url, field) in urls.into_iter().zip(self.url_fields()) {
            // The message leaves the text out: it may hold a token.
            let receiver = Receiver::parse(url.expose())
                .map_err(|why| Error::config(format!("the address {why}")).at(&field))?;
            if receivers.contains(&receiver) {
                return Err(Error::config("this address stands here twice").at(&field));
            }
            receivers.push(receiver);
        }
        Ok(receivers)
    }

    fn events(&self) -> Result<Events> {
        if self.on.is_empty() {
            return Err(Error::config("`on` names no event type; `\"*\"` stands for all").at("on"));
        }
        let events = Events::new(&self.on)
            .map_err(|(i, error)| Error::config(format!("not a glob: {error}")).at(format!("on.{i}")))?;
        let is_other = |pattern: &String| !pattern.starts_with("conflict_");
        match self.on.iter().position(is_other).filter(|_| self.is_pagerduty()) {
            Some(i) => Err(Error::config(
                "PagerDuty is told of conflicts alone, because nothing would ever resolve another alert: write \
                 `conflict_detected` and `conflict_resolved`",
            )
            .at(format!("on.{i}"))),
            None => Ok(events),
        }
    }

    fn message_body(&self) -> Result<Body> {
        let only = |field: &str| {
            let message = format!("`{field}` is for `template: pagerduty`");
            Err(Error::config(message).at(field))
        };
        if !self.is_pagerduty() && self.routing_key.is_some() {
            return only("routing_key");
        }
        if !self.is_pagerduty() && self.severity.is_some() {
            return only("severity");
        }
        match (self.template, &self.body) {
            (Some(_), Some(_)) => {
                Err(Error::config("`template` and `body` both say what a message looks like: write one")
                    .at("body"))
            }
            (None, Some(text)) => self.own_body(text),
            (None | Some(TemplateName::Raw), None) => Ok(Body::Raw { values: self.values.unwrap_or(true) }),
            (Some(TemplateName::Slack), None) => Ok(Body::Slack { values: self.values.unwrap_or(false) }),
            (Some(TemplateName::Pagerduty), None) => {
                let routing_key = self.routing_key.clone().ok_or_else(|| {
                    Error::config("PagerDuty needs the `routing_key` of a service").at("routing_key")
                })?;
                if routing_key.expose().trim().is_empty() {
                    return Err(Error::config("`routing_key` must not be empty").at("routing_key"));
                }
                let values = self.values.unwrap_or(false);
                Ok(Body::PagerDuty { routing_key, severity: self.severity, values })
            }
        }
    }

    fn own_body(&self, text: &str) -> Result<Body> {
        let template =
            Template::parse(text).map_err(|why| Error::config(format!("`body` {why}")).at("body"))?;
        match template.value_field().filter(|_| self.values == Some(false)) {
            Some(field) => Err(Error::config(format!(
                "`values: false` leaves values out, but the body asks for `{{{{{field}}}}}`"
            ))
            .at("body")),
            None => Ok(Body::Own { template, values: self.values.unwrap_or(true) }),
        }
    }

    fn header_map(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let refused =
                |why: &str| Error::config(format!("header `{name}` {why}")).at(format!("headers.{name}"));
            let parsed =
                HeaderName::try_from(name.as_str()).map_err(|_| refused("is no name of a header"))?;
            if OWN_HEADERS.contains(&parsed.as_str()) || parsed.as_str().starts_with("webhook-") {
                return Err(refused("is set by the plugin itself"));
            }
            let mut value = HeaderValue::try_from(value.expose()).map_err(|_| {
                refused("has a value that HTTP cannot carry: a line break or a control character")
            })?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        Ok(headers)
    }

    fn signer(&self) -> Result<Option<Signer>> {
        let refused = |field: &str, why: &str| Error::config(format!("`{field}` {why}")).at(field);
        match (&self.secret, &self.previous_secret) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(refused("previous_secret", "needs the current `secret` beside it")),
            (Some(secret), previous) => {
                let mut signer = Signer::new(secret.expose()).map_err(|why| refused("secret", why))?;
                if let Some(previous) = previous {
                    signer.add(previous.expose()).map_err(|why| refused("previous_secret", why))?;
                }
                Ok(Some(signer))
            }
        }
    }

    fn request_timeout(&self) -> Result<Duration> {
        if (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&self.timeout.0) {
            return Ok(self.timeout.0);
        }
        Err(Error::config("`timeout` must lie between 100ms and 10s").at("timeout"))
    }

    fn checked_concurrency(&self) -> Result<u16> {
        if (1..=MOST_IN_FLIGHT).contains(&self.concurrency) {
            return Ok(self.concurrency);
        }
        Err(Error::config(format!("`concurrency` must lie between 1 and {MOST_IN_FLIGHT}")).at("concurrency"))
    }

    fn checked_retry_for(&self) -> Result<Option<Duration>> {
        match self.retry_for {
            Some(Seconds(shortest)) if shortest < Duration::from_secs(1) => {
                Err(Error::config("`retry_for` must be at least 1s").at("retry_for"))
            }
            given => Ok(given.map(|Seconds(given)| given)),
        }
    }

    fn tls(&self) -> Result<Option<ClientTls>> {
        let Some(tls) = &self.ssl_context else { return Ok(None) };
        if !self.receivers()?.iter().any(Receiver::is_tls) {
            return Err(
                Error::config("`ssl_context` is for TLS: write an `https://` address").at("ssl_context")
            );
        }
        tls.check("ssl_context")?;
        Ok(Some(tls.clone()))
    }
}

#[cfg(test)]
mod tests;
