//! Where a call comes from: the peer, or what a trusted proxy says of it.
//!
//! A header proves nothing by itself: anybody can send one. It is believed from right to left, as far as
//! each next address was added by a proxy that the configuration names.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::{FORWARDED, HeaderName, X_FORWARDED_FOR};

use crate::app::App;
use crate::config::ProxyHeader;

/// The client's address. What a proxy says that cannot be read counts for nothing: then it is the peer.
pub(crate) fn client_address(app: &App, request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip().to_canonical();
    let server = &app.config.server;
    let header = header_name(server.proxy_header);
    if !server.trusts(peer) {
        if request.headers().contains_key(&header) && is_near(peer) {
            warn_once(app, peer, &header);
        }
        return Some(peer);
    }
    let values = request.headers().get_all(&header);
    let Some(values) = values.map(|value| value.to_str().ok()).collect() else {
        return Some(peer);
    };
    let client = match server.proxy_header {
        ProxyHeader::XForwardedFor => walk(&x_forwarded_for(values), |at| server.trusts(at)),
        ProxyHeader::Forwarded => walk(&forwarded(values), |at| server.trusts(at)),
    };
    Some(client.unwrap_or(peer))
}

fn header_name(header: ProxyHeader) -> HeaderName {
    match header {
        ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
        ProxyHeader::Forwarded => FORWARDED,
    }
}

/// The rightmost address that is no trusted proxy's, or the leftmost of all; `None` when one cannot be
/// read before that.
fn walk(chain: &[Option<IpAddr>], trusts: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut client = None;
    for address in chain.iter().rev() {
        client = Some((*address)?);
        if client.is_some_and(|address| !trusts(address)) {
            break;
        }
    }
    client
}

/// The addresses of `X-Forwarded-For`, of all its lines.
fn x_forwarded_for(values: Vec<&str>) -> Vec<Option<IpAddr>> {
    let addresses = values.into_iter().flat_map(|value| value.split(','));
    addresses.map(|text| address(text.trim())).collect()
}

/// The addresses in `for=` of each element of `Forwarded` (RFC 7239), of all its lines.
fn forwarded(values: Vec<&str>) -> Vec<Option<IpAddr>> {
    let elements = values.into_iter().flat_map(|value| unquoted(value, ','));
    let node = |element| {
        let mut pairs = unquoted(element, ';').into_iter();
        pairs.find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            name.eq_ignore_ascii_case("for").then_some(value)
        })
    };
    elements
        .map(|element| address(node(element)?.trim_matches('"')))
        .collect()
}

/// Splits where `separator` does not stand inside quotation marks.
fn unquoted(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(|character| {
        is_quoted ^= character == '"';
        character == separator && !is_quoted
    })
    .collect()
}

/// An address, with or without a port; one of IPv6 in brackets then.
fn address(text: &str) -> Option<IpAddr> {
    let in_brackets = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = in_brackets.unwrap_or(text).parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

/// Whether an address is one that a proxy of ours may have.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}

fn warn_once(app: &App, peer: IpAddr, header: &HeaderName) {
    app.limits.unlisted_proxy.call_once(|| {
        tracing::warn!(
            "{peer} sends {header} and is not in server.trusted_proxies: all clients behind it count as one"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn trusts(address: IpAddr) -> bool {
        address.to_string().starts_with("10.")
    }

    #[test]
    fn the_rightmost_address_that_no_trusted_proxy_has_is_the_client() {
        for (lines, client) in [
            (vec!["203.0.113.7"], Some("203.0.113.7")),
            (vec!["203.0.113.7, 10.0.0.2"], Some("203.0.113.7")),
            (
                vec!["198.51.100.1, 203.0.113.7,10.0.0.2"],
                Some("203.0.113.7"),
            ),
            (
                vec!["198.51.100.1", "203.0.113.7", "10.0.0.2"],
                Some("203.0.113.7"),
            ),
            (vec!["nonsense, 203.0.113.7, 10.0.0.2"], Some("203.0.113.7")),
            (vec!["203.0.113.7, nonsense, 10.0.0.2"], None),
            (vec!["203.0.113.7, "], None),
            (vec!["unknown"], None),
            (vec!["10.0.0.3, 10.0.0.2"], Some("10.0.0.3")),
            (vec!["203.0.113.7:4711"], Some("203.0.113.7")),
            (vec!["[2001:db8::7]:4711"], Some("2001:db8::7")),
            (vec!["2001:db8::7"], Some("2001:db8::7")),
            (vec!["::ffff:203.0.113.7"], Some("203.0.113.7")),
            (vec![], None),
        ] {
            let found = walk(&x_forwarded_for(lines.clone()), trusts);
            assert_eq!(found, client.map(at), "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        for (lines, client) in [
            (vec!["for=203.0.113.7"], Some("203.0.113.7")),
            (
                vec!["For=\"[2001:db8::7]:4711\";proto=https"],
                Some("2001:db8::7"),
            ),
            (
                vec!["for=198.51.100.1, by=10.0.0.1;FOR=203.0.113.7, for=10.0.0.2"],
                Some("203.0.113.7"),
            ),
            (
                vec!["for=203.0.113.7;host=\"a,b;for=10.9.9.9\""],
                Some("203.0.113.7"),
            ),
            (
                vec!["for=198.51.100.1", "for=10.0.0.2"],
                Some("198.51.100.1"),
            ),
            (vec!["for=_hidden"], None),
            (vec!["for=unknown, for=10.0.0.2"], None),
            (vec!["proto=https"], None),
            (vec!["203.0.113.7"], None),
        ] {
            let found = walk(&forwarded(lines.clone()), trusts);
            assert_eq!(found, client.map(at), "{lines:?}");
        }
    }
}
