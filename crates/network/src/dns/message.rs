//! The wire: what is asked, and the answers that are ours.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::{Found, Tables};

/// Containers come and go: nobody is to remember them.
const TTL: u32 = 0;
/// What we say that we take over UDP, as most servers do since 2020.
const OUR_PAYLOAD: u16 = 1232;
const HEADER: usize = 12;

/// What to do with a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send this back.
    Answer(Vec<u8>),
    /// Ask somebody else.
    Forward,
    /// It is nothing that could be answered.
    Ignore,
}

/// Works out the answer to a query of container `id`. `datagram` is whether it must fit into one.
pub(super) fn judge(tables: &Tables, id: &str, query: &[u8], datagram: bool) -> Verdict {
    // An answer to an answer could go on for ever.
    if query.len() < HEADER || query[2] & 0x80 != 0 {
        return Verdict::Ignore;
    }
    let Ok(query) = Message::from_vec(query) else {
        return refuse(query, ResponseCode::FormErr);
    };
    if query.metadata.op_code != OpCode::Query {
        return status(&query, ResponseCode::NotImp);
    }
    let [question] = &query.queries[..] else {
        return status(&query, ResponseCode::FormErr);
    };
    let forwards = tables.host(id).is_some_and(|host| host.forwards);
    let name = question.name.to_ascii();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let ours = match (question.query_class, question.query_type) {
        (DNSClass::IN, RecordType::PTR) => tables.by_address(id, name),
        (DNSClass::IN, _) => tables.by_name(id, name),
        _ => None,
    };
    match ours {
        Some(found) => {
            let records = records(&question.name, question.query_type, found);
            answer(&query, records, datagram)
        }
        None if forwards => Verdict::Forward,
        None => status(&query, ResponseCode::NXDomain),
    }
}

/// The records of the type that was asked for: none is an answer, too, and means that there are others.
fn records(name: &Name, kind: RecordType, found: Found) -> Vec<Record> {
    let record = |data| Record::from_rdata(name.clone(), TTL, data);
    let addresses = match found {
        Found::Addresses(addresses) => addresses,
        Found::Name(target) => {
            let target = Name::from_ascii(format!("{target}."));
            return target
                .map(|target| record(RData::PTR(PTR(target))))
                .into_iter()
                .collect();
        }
    };
    let wanted = addresses
        .into_iter()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(v4), RecordType::A | RecordType::ANY) => Some(RData::A(A(v4))),
            (IpAddr::V6(v6), RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(v6))),
            _ => None,
        });
    wanted.map(record).collect()
}

fn answer(query: &Message, mut records: Vec<Record>, datagram: bool) -> Verdict {
    // The next one who asks begins with another: the low bits of the id are as good as dice.
    if !records.is_empty() {
        let turn = usize::from(query.metadata.id) % records.len();
        records.rotate_left(turn);
    }
    let mut message = reply(query, ResponseCode::NoError);
    message.answers = records;
    let limit = match datagram {
        true => usize::from(query.max_payload()),
        false => usize::from(u16::MAX),
    };
    match message.to_vec() {
        Ok(bytes) if bytes.len() <= limit => Verdict::Answer(bytes),
        Ok(_) => encode(&message.truncate()),
        Err(_) => status(query, ResponseCode::ServFail),
    }
}

fn status(query: &Message, code: ResponseCode) -> Verdict {
    encode(&reply(query, code))
}

fn encode(message: &Message) -> Verdict {
    message.to_vec().map_or(Verdict::Ignore, Verdict::Answer)
}

fn reply(query: &Message, code: ResponseCode) -> Message {
    let metadata = &query.metadata;
    let mut message = Message::new(metadata.id, MessageType::Response, metadata.op_code);
    message.metadata.recursion_desired = metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.queries.clone_from(&query.queries);
    // RFC 6891 6.1.1: who sends an OPT record gets one.
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(OUR_PAYLOAD);
        message.edns = Some(edns);
    }
    message
}

/// An answer to a query that cannot be read, or that nobody answered: its header with a code, and nothing else.
fn refuse(query: &[u8], code: ResponseCode) -> Verdict {
    failure(query, code).map_or(Verdict::Ignore, Verdict::Answer)
}

/// That a query could not be answered; with its question, so that who asks knows which.
pub(super) fn server_failure(query: &[u8]) -> Option<Vec<u8>> {
    match Message::from_vec(query) {
        Ok(message) => match status(&message, ResponseCode::ServFail) {
            Verdict::Answer(bytes) => Some(bytes),
            _ => None,
        },
        Err(_) => failure(query, ResponseCode::ServFail),
    }
}

fn failure(query: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let header = query.get(..HEADER)?;
    let mut bytes = header.to_vec();
    bytes[2] |= 0x80;
    bytes[3] = 0x80 | code.low();
    bytes[4..].fill(0);
    Some(bytes)
}

/// Whether `response` is one to `query`, when `query` was sent with `id`: the same question, in whatever case.
pub(super) fn responds_to(response: &[u8], query: &[u8], id: [u8; 2]) -> bool {
    let (Some(asked), Some(answered)) = (question(query), question(response)) else {
        // A server that could not read the question may leave it out.
        return response.len() >= HEADER && response[..2] == id && response[2] & 0x80 != 0;
    };
    response[..2] == id && response[2] & 0x80 != 0 && asked.eq_ignore_ascii_case(answered)
}

/// Whether another server may know better.
pub(super) fn is_failure(response: &[u8]) -> bool {
    // SERVFAIL, NOTIMP, REFUSED
    response
        .get(3)
        .is_some_and(|byte| matches!(byte & 0x0f, 2 | 4 | 5))
}

/// The bytes of a message's only question.
fn question(message: &[u8]) -> Option<&[u8]> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = HEADER;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return message.get(HEADER..at + 5),
            length @ 1..=63 => at += 1 + length,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Host, Place, Zone};
    use super::*;
    use hickory_proto::op::Query;

    fn tables(count: u8, forwards: bool) -> Tables {
        let hosts = (1..=count).map(|n| Host {
            id: format!("c{n}"),
            forwards,
            places: vec![Place {
                network: "n".into(),
                network_name: "net".into(),
                names: vec![format!("web{n}"), "web".into()],
                addresses: vec![
                    IpAddr::from([10, 0, 0, n]),
                    format!("fd00::{n}").parse().unwrap(),
                ],
            }],
            servers: Vec::new(),
        });
        Tables::new(Zone {
            hosts: hosts.collect(),
        })
    }

    fn query(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
        let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.edns = payload.map(|size| {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            edns
        });
        message.to_vec().unwrap()
    }

    fn asked(tables: &Tables, query: &[u8], datagram: bool) -> Message {
        match judge(tables, "c1", query, datagram) {
            Verdict::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_type_gets_its_records() {
        let tables = tables(2, true);
        let a = asked(&tables, &query("WEB2.", RecordType::A, None), true);
        assert_eq!(
            (a.metadata.id, a.metadata.response_code),
            (0x1234, ResponseCode::NoError)
        );
        assert!(a.metadata.recursion_desired && a.metadata.recursion_available);
        assert_eq!(a.answers[0].data, RData::A(A("10.0.0.2".parse().unwrap())));
        assert!(a.edns.is_none());
        let aaaa = asked(&tables, &query("web2.", RecordType::AAAA, Some(1400)), true);
        assert_eq!(
            aaaa.answers[0].data,
            RData::AAAA(AAAA("fd00::2".parse().unwrap()))
        );
        assert!(aaaa.edns.is_some());
        let mx = asked(&tables, &query("web2.", RecordType::MX, None), true);
        assert_eq!(
            (mx.metadata.response_code, mx.answers.len()),
            (ResponseCode::NoError, 0)
        );
        let ptr = asked(
            &tables,
            &query("2.0.0.10.in-addr.arpa.", RecordType::PTR, None),
            true,
        );
        assert_eq!(ptr.answers[0].data.to_string(), "web2.net.");
    }

    #[test]
    fn what_does_not_fit_is_cut_over_udp_alone() {
        let tables = tables(60, true);
        let short = asked(&tables, &query("web.", RecordType::A, None), true);
        assert!(short.metadata.truncation && short.answers.is_empty());
        let edns = asked(&tables, &query("web.", RecordType::A, Some(4096)), true);
        assert_eq!(edns.answers.len(), 60);
        let tcp = asked(&tables, &query("web.", RecordType::A, None), false);
        assert_eq!((tcp.metadata.truncation, tcp.answers.len()), (false, 60));
    }

    #[test]
    fn the_rest_is_forwarded_or_does_not_exist() {
        let query = query("example.com.", RecordType::A, None);
        assert_eq!(
            judge(&tables(1, true), "c1", &query, true),
            Verdict::Forward
        );
        let answer = asked(&tables(1, false), &query, true);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn nonsense_is_no_harm() {
        let tables = tables(1, true);
        let judge = |bytes: &[u8]| judge(&tables, "c1", bytes, true);
        assert_eq!(judge(&[]), Verdict::Ignore);
        assert_eq!(judge(&[0; 11]), Verdict::Ignore);
        let mut response = query("web1.", RecordType::A, None);
        response[2] |= 0x80;
        assert_eq!(judge(&response), Verdict::Ignore);
        let mut cut = query("web1.", RecordType::A, None);
        cut.truncate(15);
        let Verdict::Answer(bytes) = judge(&cut) else {
            panic!("no answer");
        };
        assert_eq!((bytes[..2].to_vec(), bytes[3] & 15), (vec![0x12, 0x34], 1));
        let mut update = query("web1.", RecordType::A, None);
        update[2] |= 5 << 3;
        let Verdict::Answer(bytes) = judge(&update) else {
            panic!("no answer");
        };
        assert_ne!(bytes[3] & 15, 0);
    }

    #[test]
    fn only_the_answer_to_the_question_is_taken() {
        let asked = query("example.com.", RecordType::A, None);
        let mut answer = query("EXAMPLE.com.", RecordType::A, Some(1232));
        answer[2] |= 0x80;
        let id = [0x12, 0x34];
        assert!(responds_to(&answer, &asked, id));
        assert!(!responds_to(&answer, &asked, [0, 0]));
        let mut other = query("example.org.", RecordType::A, None);
        other[2] |= 0x80;
        assert!(!responds_to(&other, &asked, id));
        assert!(!responds_to(&asked, &asked, id));
        assert!(!responds_to(&[], &asked, id));
    }
}
