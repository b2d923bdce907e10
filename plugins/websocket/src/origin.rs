//! Which web pages may connect.
//!
//! A browser lets any page open a WebSocket to any address, this machine's own included, and says whose page it is. Programs
//! that are no browsers say nothing, and are not asked.

use std::net::{IpAddr, SocketAddr};

/// Any page.
const ANY: &str = "*";

/// Whether a page of this origin may connect. Where nothing is said about it, an address that only this machine reaches is
/// for pages of this machine: any other one was opened by somebody who only looks at it.
pub(crate) fn may_connect(allowed: Option<&[String]>, address: SocketAddr, origin: &str) -> bool {
    match allowed {
        Some(allowed) => allowed.iter().any(|one| one == ANY || one.eq_ignore_ascii_case(origin)),
        None => !address.ip().is_loopback() || is_of_this_machine(origin),
    }
}

fn is_of_this_machine(origin: &str) -> bool {
    let Some((_scheme, place)) = origin.split_once("://") else { return false };
    let host = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => address,
        None => place.split_once(':').map_or(place, |(host, _port)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(allowed: Option<&[&str]>, address: &str, origin: &str) -> bool {
        let allowed: Option<Vec<String>> =
            allowed.map(|allowed| allowed.iter().map(|&one| one.to_owned()).collect());
        may_connect(allowed.as_deref(), address.parse().expect("an address"), origin)
    }

    #[test]
    fn without_a_list_this_machines_address_is_for_this_machines_pages() {
        let here = "127.0.0.1:8765";
        for origin in
            ["http://localhost:3000", "https://LOCALHOST", "http://127.0.0.1:8000", "http://[::1]:3000"]
        {
            assert!(may(None, here, origin), "{origin}");
        }
        for origin in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example:3000",
            "null",
            "",
        ] {
            assert!(!may(None, here, origin), "{origin}");
            assert!(may(None, "0.0.0.0:8080", origin), "whoever listens to all has said so: {origin}");
        }
    }

    #[test]
    fn a_list_says_all() {
        let app = "https://app.example";
        assert!(may(Some(&[app]), "127.0.0.1:8765", "https://App.example"));
        assert!(!may(Some(&[app]), "127.0.0.1:8765", "http://localhost:3000"));
        assert!(!may(Some(&[]), "0.0.0.0:8080", app));
        assert!(may(Some(&["*"]), "127.0.0.1:8765", "null"));
    }
}
