//! Frames of SPDY/3.1.

use bytes::{Buf, BufMut, BytesMut};

use super::ProtocolError;

/// Bytes before a frame's payload.
pub(super) const HEADER: usize = 8;
/// Control frames are small; the largest carries a stream's headers.
const LONGEST_CONTROL: usize = 64 * 1024;
const VERSION: u16 = 3;
const CONTROL: u16 = 0x8000;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

const FIN: u8 = 1;
const SETTING_INITIAL_WINDOW: u32 = 7;

/// Why a stream or connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::streaming) enum Status {
    ProtocolError = 1,
    RefusedStream = 3,
    Cancel = 5,
}

/// The first bytes of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    Control {
        kind: u16,
        flags: u8,
        length: usize,
    },
    Data {
        stream: u32,
        last: bool,
        length: usize,
    },
}

impl Prefix {
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Result<Prefix, ProtocolError> {
        let word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let flags = bytes[4];
        let length = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]) as usize;
        let version = (word >> 16) as u16;
        if version & CONTROL == 0 {
            return Ok(Prefix::Data {
                stream: word,
                last: flags & FIN != 0,
                length,
            });
        }
        if version != CONTROL | VERSION {
            let version = version & !CONTROL;
            return Err(ProtocolError::Version { version });
        }
        if length > LONGEST_CONTROL {
            return Err(ProtocolError::TooLong { length });
        }
        Ok(Prefix::Control {
            kind: word as u16,
            flags,
            length,
        })
    }
}

/// A control frame; header blocks are still compressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control<'a> {
    SynStream {
        stream: u32,
        last: bool,
        block: &'a [u8],
    },
    Headers {
        stream: u32,
        last: bool,
        block: &'a [u8],
    },
    Reset {
        stream: u32,
    },
    /// With the initial window of streams, if the settings tell it.
    Settings {
        window: Option<u32>,
    },
    Ping {
        id: u32,
    },
    WindowUpdate {
        stream: u32,
        delta: u32,
    },
    /// Something that changes nothing here: GOAWAY, replies to streams we never open, unknown types.
    Other,
}

impl<'a> Control<'a> {
    pub(super) fn parse(
        kind: u16,
        flags: u8,
        payload: &'a [u8],
    ) -> Result<Control<'a>, ProtocolError> {
        Self::parse_payload(kind, flags & FIN != 0, payload)
            .ok_or(ProtocolError::Truncated { kind })
    }

    fn parse_payload(kind: u16, last: bool, mut payload: &'a [u8]) -> Option<Control<'a>> {
        const STREAM: u32 = 0x7fff_ffff;
        let mut number = || payload.try_get_u32().ok();
        Some(match kind {
            SYN_STREAM => {
                let stream = number()? & STREAM;
                let (_associated, rest) = (number()?, payload);
                // Priority and credential slot.
                let block = rest.get(2..)?;
                Control::SynStream {
                    stream,
                    last,
                    block,
                }
            }
            HEADERS => Control::Headers {
                stream: number()? & STREAM,
                last,
                block: payload,
            },
            RST_STREAM => Control::Reset {
                stream: number()? & STREAM,
            },
            SETTINGS => Control::Settings {
                window: initial_window(payload)?,
            },
            PING => Control::Ping { id: number()? },
            WINDOW_UPDATE => Control::WindowUpdate {
                stream: number()? & STREAM,
                delta: number()? & STREAM,
            },
            _ => Control::Other,
        })
    }
}

fn initial_window(mut payload: &[u8]) -> Option<Option<u32>> {
    let count = payload.try_get_u32().ok()?;
    let mut window = None;
    for _ in 0..count {
        let id = payload.try_get_u32().ok()? & 0x00ff_ffff;
        let value = payload.try_get_u32().ok()?;
        if id == SETTING_INITIAL_WINDOW {
            window = Some(value);
        }
    }
    Some(window)
}

fn control(buffer: &mut BytesMut, kind: u16, payload: &[u8]) {
    buffer.put_u16(CONTROL | VERSION);
    buffer.put_u16(kind);
    buffer.put_u8(0);
    buffer.put_uint(payload.len() as u64, 3);
    buffer.put_slice(payload);
}

fn numbers(buffer: &mut BytesMut, kind: u16, first: u32, second: u32) {
    let payload = (u64::from(first) << 32 | u64::from(second)).to_be_bytes();
    control(buffer, kind, &payload);
}

pub(super) fn data(buffer: &mut BytesMut, stream: u32, payload: &[u8], last: bool) {
    buffer.put_u32(stream);
    buffer.put_u8(if last { FIN } else { 0 });
    buffer.put_uint(payload.len() as u64, 3);
    buffer.put_slice(payload);
}

pub(super) fn syn_reply(buffer: &mut BytesMut, stream: u32, block: &[u8]) {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend(block);
    control(buffer, SYN_REPLY, &payload);
}

pub(super) fn reset(buffer: &mut BytesMut, stream: u32, status: Status) {
    numbers(buffer, RST_STREAM, stream, status as u32);
}

pub(super) fn ping(buffer: &mut BytesMut, id: u32) {
    control(buffer, PING, &id.to_be_bytes());
}

pub(super) fn window_update(buffer: &mut BytesMut, stream: u32, delta: u32) {
    numbers(buffer, WINDOW_UPDATE, stream, delta);
}

/// No more streams are taken; `last` was the last one that was. `status` is 0, or [`Status::ProtocolError`].
pub(super) fn goaway(buffer: &mut BytesMut, last: u32, status: Option<Status>) {
    numbers(
        buffer,
        GOAWAY,
        last,
        status.map_or(0, |status| status as u32),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(bytes: &[u8]) -> Result<Prefix, ProtocolError> {
        Prefix::parse(bytes.try_into().unwrap())
    }

    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        let mut buffer = BytesMut::new();
        data(&mut buffer, 5, b"abc", true);
        assert_eq!(&buffer[..], b"\0\0\0\x05\x01\0\0\x03abc");
        buffer.clear();
        reset(&mut buffer, 5, Status::Cancel);
        assert_eq!(&buffer[..], b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x05\0\0\0\x05");
        buffer.clear();
        goaway(&mut buffer, 7, None);
        assert_eq!(&buffer[..], b"\x80\x03\0\x07\0\0\0\x08\0\0\0\x07\0\0\0\0");
    }

    #[test]
    fn prefixes_are_told_apart() {
        assert_eq!(
            prefix(b"\0\0\0\x05\x01\0\x01\0").unwrap(),
            Prefix::Data {
                stream: 5,
                last: true,
                length: 256
            }
        );
        assert_eq!(
            prefix(b"\x80\x03\0\x06\0\0\0\x04").unwrap(),
            Prefix::Control {
                kind: PING,
                flags: 0,
                length: 4
            }
        );
        assert!(matches!(
            prefix(b"\x80\x02\0\x06\0\0\0\x04"),
            Err(ProtocolError::Version { version: 2 })
        ));
        assert!(matches!(
            prefix(b"\x80\x03\0\x01\0\xff\0\0"),
            Err(ProtocolError::TooLong { .. })
        ));
    }

    #[test]
    fn control_frames_are_read_and_short_ones_refused() {
        let parse = |kind, payload: &'static [u8]| Control::parse(kind, 0, payload);
        assert_eq!(
            parse(SYN_STREAM, b"\x80\0\0\x03\0\0\0\0\x20\0block").unwrap(),
            Control::SynStream {
                stream: 3,
                last: false,
                block: b"block"
            }
        );
        assert_eq!(
            parse(SETTINGS, b"\0\0\0\x01\x01\0\0\x07\0\0\x10\0").unwrap(),
            Control::Settings {
                window: Some(4_096)
            }
        );
        assert_eq!(
            parse(WINDOW_UPDATE, b"\0\0\0\0\0\0\0\x09").unwrap(),
            Control::WindowUpdate {
                stream: 0,
                delta: 9
            }
        );
        assert_eq!(parse(GOAWAY, b"").unwrap(), Control::Other);
        for (kind, payload) in [
            (SYN_STREAM, &b"\0\0\0\x01\0\0\0\0\0"[..]),
            (PING, b"\0"),
            (SETTINGS, b"\0\0\0\x02\0\0\0\x07\0\0\0\0"),
        ] {
            assert!(matches!(
                parse(kind, payload),
                Err(ProtocolError::Truncated { .. })
            ));
        }
    }
}
