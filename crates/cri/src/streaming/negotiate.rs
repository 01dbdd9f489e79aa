//! What a client asks to upgrade to, and the version that both sides know.

use hyper::header::{HeaderMap, HeaderName, SEC_WEBSOCKET_PROTOCOL, UPGRADE};

use super::spdy::command::Version;
use super::status::StatusForm;
use super::websocket::{Channels, Encoding};

pub(super) const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
pub(super) const ACCEPTED_PROTOCOLS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");

/// The way the connection is upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Spdy,
    WebSocket,
}

impl Transport {
    /// What the request's headers ask for.
    pub(super) fn of(headers: &HeaderMap) -> Option<Transport> {
        let upgrades = list(headers, &UPGRADE);
        let asks = |name: &str| upgrades.iter().any(|word| word.eq_ignore_ascii_case(name));
        if asks("websocket") {
            Some(Transport::WebSocket)
        } else if asks("SPDY/3.1") {
            Some(Transport::Spdy)
        } else {
            None
        }
    }

    /// The header that names protocols, in both directions.
    pub(super) fn header(self) -> HeaderName {
        match self {
            Transport::Spdy => STREAM_PROTOCOL,
            Transport::WebSocket => SEC_WEBSOCKET_PROTOCOL,
        }
    }
}

/// How a command's streams are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandProtocol {
    Spdy(Version),
    WebSocket(Channels),
}

/// How forwarded connections are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForwardProtocol {
    Spdy,
    /// SPDY inside of WebSocket messages.
    Tunnel,
    /// Two channels for each port of the request.
    WebSocket(Channels),
}

/// A protocol and its name; WebSocket clients need not name one.
pub(super) type Named<P> = (&'static str, P);

const fn spdy(status: StatusForm, resize: bool) -> CommandProtocol {
    CommandProtocol::Spdy(Version { status, resize })
}

const fn channels(encoding: Encoding, status: StatusForm, half_close: bool) -> Channels {
    Channels {
        encoding,
        status,
        half_close,
    }
}

const SPDY_COMMANDS: [Named<CommandProtocol>; 4] = [
    ("v4.channel.k8s.io", spdy(StatusForm::Json, true)),
    ("v3.channel.k8s.io", spdy(StatusForm::Plain, true)),
    ("v2.channel.k8s.io", spdy(StatusForm::Plain, false)),
    ("channel.k8s.io", spdy(StatusForm::Plain, false)),
];

const BINARY_PLAIN: Channels = channels(Encoding::Binary, StatusForm::Plain, false);
const BINARY_JSON: Channels = channels(Encoding::Binary, StatusForm::Json, false);
const BASE64_PLAIN: Channels = channels(Encoding::Base64, StatusForm::Plain, false);
const BASE64_JSON: Channels = channels(Encoding::Base64, StatusForm::Json, false);
const HALF_CLOSE: Channels = channels(Encoding::Binary, StatusForm::Json, true);

const WEBSOCKET_COMMANDS: [Named<CommandProtocol>; 6] = [
    ("v5.channel.k8s.io", CommandProtocol::WebSocket(HALF_CLOSE)),
    ("v4.channel.k8s.io", CommandProtocol::WebSocket(BINARY_JSON)),
    (
        "v4.base64.channel.k8s.io",
        CommandProtocol::WebSocket(BASE64_JSON),
    ),
    ("channel.k8s.io", CommandProtocol::WebSocket(BINARY_PLAIN)),
    (
        "base64.channel.k8s.io",
        CommandProtocol::WebSocket(BASE64_PLAIN),
    ),
    ("", CommandProtocol::WebSocket(BINARY_PLAIN)),
];

const SPDY_FORWARDS: [Named<ForwardProtocol>; 1] = [("portforward.k8s.io", ForwardProtocol::Spdy)];

const WEBSOCKET_FORWARDS: [Named<ForwardProtocol>; 4] = [
    ("SPDY/3.1+portforward.k8s.io", ForwardProtocol::Tunnel),
    (
        "v4.channel.k8s.io",
        ForwardProtocol::WebSocket(BINARY_PLAIN),
    ),
    (
        "v4.base64.channel.k8s.io",
        ForwardProtocol::WebSocket(BASE64_PLAIN),
    ),
    ("", ForwardProtocol::WebSocket(BINARY_PLAIN)),
];

/// The protocols for commands over this transport.
pub(super) fn commands(transport: Transport) -> &'static [Named<CommandProtocol>] {
    match transport {
        Transport::Spdy => &SPDY_COMMANDS,
        Transport::WebSocket => &WEBSOCKET_COMMANDS,
    }
}

/// The protocols for port-forward over this transport.
pub(super) fn forwards(transport: Transport) -> &'static [Named<ForwardProtocol>] {
    match transport {
        Transport::Spdy => &SPDY_FORWARDS,
        Transport::WebSocket => &WEBSOCKET_FORWARDS,
    }
}

/// The first of the client's protocols that we know; without any of them the one without a name, if there is one.
pub(super) fn choose<P: Copy>(offered: &[&str], known: &[Named<P>]) -> Option<Named<P>> {
    let find = |name: &str| known.iter().find(|(known, _)| *known == name).copied();
    match offered.is_empty() {
        true => find(""),
        false => offered.iter().find_map(|name| find(name)),
    }
}

/// The words of a header that may be repeated and may hold lists.
pub(super) fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_first_choice_that_is_known_wins() {
        let chosen = choose(
            &["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"],
            commands(Transport::Spdy),
        );
        assert_eq!(chosen.unwrap().0, "v4.channel.k8s.io");
        let chosen = choose(
            &["v4.channel.k8s.io", "v5.channel.k8s.io"],
            commands(Transport::WebSocket),
        );
        assert_eq!(chosen.unwrap().0, "v4.channel.k8s.io");
        assert!(choose(&["v9.channel.k8s.io"], commands(Transport::Spdy)).is_none());
        assert!(choose(&[], commands(Transport::Spdy)).is_none());
        assert_eq!(choose(&[], commands(Transport::WebSocket)).unwrap().0, "");
    }

    #[test]
    fn transports_are_told_by_the_upgrade_header() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, value.parse().unwrap());
            Transport::of(&headers)
        };
        assert_eq!(of("spdy/3.1"), Some(Transport::Spdy));
        assert_eq!(of("WebSocket"), Some(Transport::WebSocket));
        assert_eq!(of("h2c"), None);
        assert_eq!(Transport::of(&HeaderMap::new()), None);
    }

    #[test]
    fn lists_come_in_one_header_or_in_many() {
        let mut headers = HeaderMap::new();
        headers.append(STREAM_PROTOCOL, "a, b".parse().unwrap());
        headers.append(STREAM_PROTOCOL, "c".parse().unwrap());
        assert_eq!(list(&headers, &STREAM_PROTOCOL), ["a", "b", "c"]);
    }
}
