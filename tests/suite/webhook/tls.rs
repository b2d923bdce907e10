//! Receivers by TLS: whom the sink believes, and whom it tells nothing.

use super::{author, site};
use lockstep_test_support::{Certificates, HttpReceiver, LIMIT, Site};
use std::{fs, path::Path};

fn by_tls(receiver: &HttpReceiver, ssl_context: &str) -> Site {
    site(&format!("url: {}\non: ['config_*']\nssl_context: {{ {ssl_context} }}", receiver.url("/")))
}

fn ca(file: &Path) -> String {
    format!("cafile: '{}'", file.display())
}

#[test]
fn a_receiver_of_a_trusted_authority_is_told_and_a_strangers_is_not() {
    let certificates = Certificates::shared();
    let receiver = HttpReceiver::start_tls(&certificates.server, None);
    let site = by_tls(&receiver, "cafile: SITE/ca.pem");
    fs::copy(&certificates.other_ca, site.path("ca.pem")).expect("a file");
    author(&site, &["app.x"]);
    let mut host = site.start();
    host.wait_until("the stranger to be refused", LIMIT, |host| {
        host.status().errors("flow").contains("shows a certificate that no trusted authority has signed")
    });
    assert!(receiver.requests().is_empty(), "nothing was sent");
    // The authority's file is replaced while the host runs.
    fs::copy(&certificates.ca, site.path("ca.pem")).expect("a file");
    assert_eq!(receiver.wait_for(1)[0].json()["config_key"], "app.x");
    host.stop();
}

#[test]
fn without_a_file_the_systems_authorities_are_asked_and_know_nobody_of_these() {
    let receiver = HttpReceiver::start_tls(&Certificates::shared().server, None);
    let site = site(&format!("url: {}\non: ['config_*']", receiver.url("/")));
    author(&site, &["app.x"]);
    let mut host = site.start();
    host.wait_until("a refusal", LIMIT, |host| {
        let errors = host.status().errors("flow");
        errors.contains("no trusted authority has signed")
            || errors.contains("this system trusts no authority")
    });
    assert!(receiver.requests().is_empty());
    host.kill();
}

#[test]
fn a_certificate_whose_time_is_over_is_refused() {
    let certificates = Certificates::shared();
    let receiver = HttpReceiver::start_tls(&certificates.expired, None);
    let site = by_tls(&receiver, &ca(&certificates.ca));
    author(&site, &["app.x"]);
    let mut host = site.start();
    host.wait_until("a refusal", LIMIT, |host| host.status().errors("flow").contains("has expired"));
    assert!(receiver.requests().is_empty());
    host.kill();
}

#[test]
fn a_receiver_that_asks_for_a_certificate_is_shown_one() {
    let certificates = Certificates::shared();
    let receiver = HttpReceiver::start_tls(&certificates.server, Some(&certificates.ca));
    for (identity, is_let_in) in [(&certificates.stranger, false), (&certificates.client, true)] {
        let files = format!(
            "{}, certfile: '{}', keyfile: '{}'",
            ca(&certificates.ca),
            identity.certificate.display(),
            identity.key.display()
        );
        let site = by_tls(&receiver, &files);
        author(&site, &["app.x"]);
        let mut host = site.start();
        if is_let_in {
            receiver.wait_for(1);
            host.stop();
        } else {
            host.wait_until("a refusal", LIMIT, |host| host.status().errors("flow").contains("refuses TLS"));
            assert!(receiver.requests().is_empty());
            host.kill();
        }
    }
}
