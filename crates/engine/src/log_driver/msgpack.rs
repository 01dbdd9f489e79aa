//! As much of MessagePack as Fluentd's forward protocol needs.

use std::time::SystemTime;

/// A document being written.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn array(&mut self, length: usize) {
        self.header(length, (0x90, 15), 0xdc);
    }

    pub(super) fn map(&mut self, length: usize) {
        self.header(length, (0x80, 15), 0xde);
    }

    /// Short, 16 bits or 32 bits of length.
    fn header(&mut self, length: usize, (short, most): (u8, usize), long: u8) {
        match u16::try_from(length) {
            _ if length <= most => self.0.push(short | length as u8),
            Ok(length) => {
                self.0.push(long);
                self.0.extend(length.to_be_bytes());
            }
            Err(_) => {
                self.0.push(long + 1);
                self.0.extend((length as u32).to_be_bytes());
            }
        }
    }

    /// Text, or bytes that may be no text.
    pub(super) fn string(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        match u8::try_from(text.len()) {
            Ok(length) if length > 31 => self.0.extend([0xd9, length]),
            _ => self.header(text.len(), (0xa0, 31), 0xda),
        }
        self.0.extend(text);
    }

    pub(super) fn number(&mut self, number: u64) {
        match u32::try_from(number) {
            Ok(small @ 0..=127) => self.0.push(small as u8),
            Ok(number) => {
                self.0.push(0xce);
                self.0.extend(number.to_be_bytes());
            }
            Err(_) => {
                self.0.push(0xcf);
                self.0.extend(number.to_be_bytes());
            }
        }
    }

    /// Fluentd's `EventTime`.
    pub(super) fn event_time(&mut self, time: SystemTime) {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.0.extend([0xd7, 0x00]);
        self.0.extend((since.as_secs() as u32).to_be_bytes());
        self.0.extend(since.subsec_nanos().to_be_bytes());
    }
}

/// The value of `ack` in a map of strings; `None` while there is too little of it, and for anything else an error.
pub(super) fn ack(bytes: &[u8]) -> Result<Option<String>, ()> {
    let mut rest = bytes;
    let mut take = |count: usize| {
        let (taken, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(taken)
    };
    let Some(&[header]) = take(1) else {
        return Ok(None);
    };
    if header & 0xf0 != 0x80 {
        return Err(());
    }
    let mut found = None;
    for _ in 0..header & 0x0f {
        let mut string = || -> Result<Option<String>, ()> {
            let Some(&[header]) = take(1) else {
                return Ok(None);
            };
            let length = match header {
                0xa0..=0xbf => usize::from(header & 0x1f),
                0xd9 => match take(1) {
                    Some(&[length]) => usize::from(length),
                    _ => return Ok(None),
                },
                _ => return Err(()),
            };
            let text = take(length).map(|text| String::from_utf8_lossy(text).into_owned());
            Ok(text)
        };
        match (string()?, string()?) {
            (Some(key), Some(value)) if key == "ack" => found = Some(value),
            (Some(_), Some(_)) => {}
            _ => return Ok(None),
        }
    }
    found.map(Some).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        write(&mut writer);
        writer.0
    }

    #[test]
    fn values_are_as_short_as_the_format_has_them() {
        assert_eq!(written(|w| w.array(2)), [0x92]);
        assert_eq!(written(|w| w.array(300)), [0xdc, 1, 44]);
        assert_eq!(written(|w| w.map(3)), [0x83]);
        assert_eq!(written(|w| w.string("ab")), [0xa2, b'a', b'b']);
        assert_eq!(written(|w| w.string([b'x'; 40]))[..2], [0xd9, 40]);
        assert_eq!(written(|w| w.string([b'x'; 300]))[..3], [0xda, 1, 44]);
        let long = written(|w| w.string(vec![b'x'; 70_000]));
        assert_eq!(long[..5], [0xdb, 0, 1, 17, 112]);
        assert_eq!(written(|w| w.number(5)), [5]);
        assert_eq!(written(|w| w.number(1 << 20)), [0xce, 0, 16, 0, 0]);
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::new(1, 2);
        let event = [0xd7, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(written(|w| w.event_time(time)), event);
    }

    #[test]
    fn acknowledgements_are_read_when_they_are_whole() {
        let mut answer = written(|w| {
            w.map(1);
            w.string("ack");
            w.string("abc");
        });
        assert_eq!(ack(&answer), Ok(Some("abc".to_owned())));
        answer.pop();
        assert_eq!(ack(&answer), Ok(None));
        assert_eq!(ack(&[]), Ok(None));
        assert_eq!(ack(&[0x92]), Err(()));
        assert_eq!(ack(&[0x80]), Err(()));
    }
}
