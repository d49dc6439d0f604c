//! The client's hello in the Initial packets of QUIC (RFC 9000, 17.2.2). They are encrypted, but under keys that follow from the
//! connection id that they carry (RFC 9001, 5.2), so that anyone who sees them can read them. Nothing else of QUIC is read.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::BlockCipherEncrypt;
use aes_gcm::{Aes128Gcm, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;

use super::bytes::be32;

/// A client pads its first packets to this, bytes of UDP payload (RFC 9000, 14.1).
const LEAST: usize = 1200;

/// The most stretches of a hello that wait for what is missing between them.
const STRETCHES: usize = 64;

const TAG: usize = 16;

/// A version, as far as its Initial packets differ from those of another.
struct Version {
    salt: [u8; 20],
    /// The two bits of the packet's type.
    initial: u8,
    /// The labels of key, initialisation vector and header protection.
    labels: [&'static str; 3],
}

const V1: Version = Version {
    salt: *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a",
    initial: 0,
    labels: ["quic key", "quic iv", "quic hp"],
};

/// RFC 9369.
const V2: Version = Version {
    salt: *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9",
    initial: 1,
    labels: ["quicv2 key", "quicv2 iv", "quicv2 hp"],
};

/// Drafts 29 to 32 (draft-ietf-quic-tls-29, 5.2).
const DRAFT: Version = Version {
    salt: *b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99",
    ..V1
};

impl Version {
    fn of(number: u32) -> Option<&'static Self> {
        match number {
            1 => Some(&V1),
            0x6b33_43cf => Some(&V2),
            0xff00_001d..=0xff00_0020 => Some(&DRAFT),
            _ => None,
        }
    }
}

/// What protects the packets of a client.
struct Keys {
    packet: [u8; 16],
    iv: [u8; 12],
    header: [u8; 16],
}

impl Keys {
    /// Those that follow from the id to which the client sent its first packet.
    fn new(version: &Version, id: &[u8]) -> Option<Self> {
        let (_, initial) = Hkdf::<Sha256>::extract(Some(&version.salt), id);
        let client = Hkdf::<Sha256>::from_prk(&expand::<32>(&initial, "client in")?).ok()?;
        let [key, iv, header] = version.labels;
        Some(Self {
            packet: expand(&client, key)?,
            iv: expand(&client, iv)?,
            header: expand(&client, header)?,
        })
    }
}

/// HKDF-Expand-Label of TLS 1.3 (RFC 8446, 7.1), without a context.
fn expand<const N: usize>(secret: &Hkdf<Sha256>, label: &str) -> Option<[u8; N]> {
    let (len, label_len) = (u16::try_from(N).ok()?.to_be_bytes(), [u8::try_from(6 + label.len()).ok()?]);
    let mut key = [0; N];
    secret.expand_multi_info(&[&len, &label_len, b"tls13 ", label.as_bytes(), &[0]], &mut key).ok()?;
    Some(key)
}

/// A packet whose header is still protected.
struct Initial<'a> {
    version: &'static Version,
    /// The connection id to which it is sent.
    id: &'a [u8],
    /// From its first byte to the end of its payload.
    bytes: &'a [u8],
    /// Where its number begins.
    number: usize,
}

impl<'a> Initial<'a> {
    /// The packet that a datagram begins with, if it is one of these.
    fn read(datagram: &'a [u8]) -> Option<Self> {
        let first = *datagram.first()?;
        let version = Version::of(be32(datagram, 1)?)?;
        if first & 0x80 == 0 || first >> 4 & 3 != version.initial {
            return None;
        }
        let mut rest = datagram.get(5..)?;
        let id = take_bytes(&mut rest, 1)?;
        let _source = take_bytes(&mut rest, 1)?;
        let token = take_number(&mut rest)?;
        rest = rest.get(usize::try_from(token).ok()?..)?;
        let len = usize::try_from(take_number(&mut rest)?).ok()?;
        let number = datagram.len() - rest.len();
        Some(Self { version, id, bytes: datagram.get(..number.checked_add(len)?)?, number })
    }

    /// Its payload, if it was protected with these keys.
    fn open(&self, keys: &Keys) -> Option<Vec<u8>> {
        let sample: [u8; 16] = self.bytes.get(self.number + 4..self.number + 20)?.try_into().ok()?;
        let mut mask = sample.into();
        Aes128::new(&keys.header.into()).encrypt_block(&mut mask);
        let number_len = usize::from((self.bytes.first()? ^ mask[0]) & 3) + 1;
        let (header, body) = self.bytes.split_at_checked(self.number + number_len)?;
        let mut header = header.to_vec();
        header[0] ^= mask[0] & 0x0f;
        let mut nonce = keys.iv;
        for (at, mask) in (0..number_len).zip(&mask[1..]) {
            header[self.number + at] ^= mask;
            nonce[12 - number_len + at] ^= header[self.number + at];
        }
        let (text, tag) = body.split_at_checked(body.len().checked_sub(TAG)?)?;
        let (mut text, tag) = (text.to_vec(), Tag::try_from(tag).ok()?);
        let cipher = Aes128Gcm::new(&keys.packet.into());
        cipher.decrypt_inout_detached(&Nonce::from(nonce), &header, text.as_mut_slice().into(), &tag).ok()?;
        Some(text)
    }
}

/// A number of variable length (RFC 9000, 16).
fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let (&first, _) = rest.split_first()?;
    let (bytes, tail) = rest.split_at_checked(1 << (first >> 6))?;
    *rest = tail;
    let number = bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    Some(number & (u64::MAX >> 2 >> (64 - 8 * bytes.len())))
}

/// Bytes behind their length, which has so many bytes itself.
fn take_bytes<'a>(rest: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let (len, tail) = rest.split_at_checked(width)?;
    let len = len.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
    let (bytes, tail) = tail.split_at_checked(len)?;
    *rest = tail;
    Some(bytes)
}

/// Joins the hello of one client from its Initial packets, which may come in any order, and so may its stretches in them.
#[derive(Debug)]
pub(super) struct Hello {
    limit: usize,
    /// The id to which the client sent its first packet.
    id: Vec<u8>,
    /// What has come, by where it begins.
    stretches: Vec<(usize, Vec<u8>)>,
}

impl Hello {
    /// Nothing read; keeps at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, id: Vec::new(), stretches: Vec::new() }
    }

    /// Takes a datagram of the client; the messages of the handshake from the first on, as far as they have come without a gap.
    /// `None` if it tells nothing.
    pub(super) fn take(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        if datagram.len() < LEAST {
            return None;
        }
        let packet = Initial::read(datagram)?;
        if self.id.is_empty() {
            self.id = packet.id.to_vec();
        }
        let open = |id: &[u8]| packet.open(&Keys::new(packet.version, id)?);
        // A server that asks for a retry gives an id that keys follow from anew.
        let payload = open(&self.id).or_else(|| if packet.id == self.id { None } else { open(packet.id) })?;
        self.frames(&payload)?;
        Some(self.joined())
    }

    /// Bytes kept.
    pub(super) fn kept(&self) -> usize {
        let stretches: usize = self.stretches.iter().map(|(_, bytes)| bytes.capacity()).sum();
        self.id.capacity() + self.stretches.capacity() * size_of::<(usize, Vec<u8>)>() + stretches
    }

    /// Keeps what the CRYPTO frames of a payload carry (RFC 9000, 19.6); `None` if there is no room.
    fn frames(&mut self, payload: &[u8]) -> Option<()> {
        let mut rest = payload;
        while let Some((&kind, tail)) = rest.split_first() {
            rest = tail;
            match kind {
                // Padding and ping.
                0 | 1 => {}
                2 | 3 => {
                    let Some(()) = skip_ack(&mut rest, kind == 3) else { break };
                }
                6 => {
                    let at = take_number(&mut rest).and_then(|at| usize::try_from(at).ok());
                    let len = take_number(&mut rest).and_then(|len| usize::try_from(len).ok());
                    let Some((at, len)) = at.zip(len) else { break };
                    let Some((bytes, tail)) = rest.split_at_checked(len) else { break };
                    rest = tail;
                    self.keep(at, bytes)?;
                }
                // A connection that is closed, or nothing that an Initial packet may have.
                _ => break,
            }
        }
        Some(())
    }

    fn keep(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let fits = at.checked_add(bytes.len()).is_some_and(|end| end <= self.limit);
        let held: usize = self.stretches.iter().map(|(_, bytes)| bytes.len()).sum();
        if !fits || held + bytes.len() > self.limit || self.stretches.len() >= STRETCHES {
            return None;
        }
        let is_known = |(begin, known): &(usize, Vec<u8>)| *begin == at && known.len() >= bytes.len();
        if !bytes.is_empty() && !self.stretches.iter().any(is_known) {
            self.stretches.push((at, bytes.to_vec()));
        }
        Some(())
    }

    fn joined(&mut self) -> Vec<u8> {
        self.stretches.sort_unstable();
        let mut joined = Vec::new();
        for (at, bytes) in &self.stretches {
            let Some(new) = joined.len().checked_sub(*at) else { break };
            joined.extend_from_slice(bytes.get(new..).unwrap_or_default());
        }
        joined
    }
}

/// Goes behind an acknowledgement (RFC 9000, 19.3).
fn skip_ack(rest: &mut &[u8], counts_marks: bool) -> Option<()> {
    let _largest = take_number(rest)?;
    let _delay = take_number(rest)?;
    let ranges = take_number(rest)?;
    let numbers = ranges.checked_mul(2)?.checked_add(1 + 3 * u64::from(counts_marks))?;
    (0..numbers).try_for_each(|_| take_number(rest).map(drop))
}

#[cfg(test)]
#[path = "quic_tests.rs"]
mod tests;
