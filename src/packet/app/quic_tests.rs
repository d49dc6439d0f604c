use aes_gcm::aead::AeadInOut;
use proptest::prelude::*;

use super::super::tls::{self, tests::client_hello};
use super::*;

const ID: [u8; 8] = *b"\x83\x94\xc8\xf0\x3e\x51\x57\x08";

/// The hello as it comes over TCP has a record's header.
fn message() -> Vec<u8> {
    client_hello()[5..].to_vec()
}

fn crypto(at: usize, bytes: &[u8]) -> Vec<u8> {
    let number = |n: usize| (0x4000 | u16::try_from(n).unwrap()).to_be_bytes();
    [&[6], &number(at)[..], &number(bytes.len()), bytes].concat()
}

/// A client's datagram: what RFC 9001, 5.3 and 5.4 say, the other way round.
fn datagram(number: u32, to: &[u8], keys: &Keys, wire: (u32, u8), frames: &[u8]) -> Vec<u8> {
    let (wire, kind) = wire;
    let mut text = frames.to_vec();
    text.resize(1_200, 0);
    let mut header = vec![0xc3 | kind << 4];
    header.extend_from_slice(&wire.to_be_bytes());
    header.push(u8::try_from(to.len()).unwrap());
    header.extend_from_slice(to);
    header.extend_from_slice(&[0, 3, 7, 7, 7]);
    header.extend_from_slice(&(0x4000 | u16::try_from(4 + text.len() + TAG).unwrap()).to_be_bytes());
    let at = header.len();
    header.extend_from_slice(&number.to_be_bytes());
    let mut nonce = keys.iv;
    nonce[8..].iter_mut().zip(number.to_be_bytes()).for_each(|(byte, number)| *byte ^= number);
    let cipher = Aes128Gcm::new(&keys.packet.into());
    let tag =
        cipher.encrypt_inout_detached(&Nonce::from(nonce), &header, text.as_mut_slice().into()).unwrap();
    let mut bytes = [header, text, tag.to_vec()].concat();
    let mut mask = <[u8; 16]>::try_from(&bytes[at + 4..at + 20]).unwrap().into();
    Aes128::new(&keys.header.into()).encrypt_block(&mut mask);
    bytes[0] ^= mask[0] & 0x0f;
    (0..4).for_each(|n| bytes[at + n] ^= mask[1 + n]);
    bytes
}

fn server_name(messages: Option<Vec<u8>>) -> Option<Vec<u8>> {
    tls::client_hello(&messages?)?.server_name.map(<[u8]>::to_vec)
}

/// RFC 9001, A.1; RFC 9369, A.1.
#[test]
fn keys_are_those_of_the_standards() {
    let v1 = Keys::new(&V1, &ID).unwrap();
    assert_eq!(v1.packet, *b"\x1f\x36\x96\x13\xdd\x76\xd5\x46\x77\x30\xef\xcb\xe3\xb1\xa2\x2d");
    assert_eq!(v1.iv, *b"\xfa\x04\x4b\x2f\x42\xa3\xfd\x3b\x46\xfb\x25\x5c");
    assert_eq!(v1.header, *b"\x9f\x50\x44\x9e\x04\xa0\xe8\x10\x28\x3a\x1e\x99\x33\xad\xed\xd2");
    let v2 = Keys::new(&V2, &ID).unwrap();
    assert_eq!(v2.packet, *b"\x8b\x1a\x0b\xc1\x21\x28\x42\x90\xa2\x9e\x09\x71\xb5\xcd\x04\x5d");
    assert_eq!(v2.iv, *b"\x91\xf7\x3e\x23\x51\xd8\xfa\x91\x66\x0e\x90\x9f");
    assert_eq!(v2.header, *b"\x45\xb9\x5e\x15\x23\x5d\x6f\x45\xa6\xb1\x9c\xbc\xb0\x29\x4b\xa9");
}

#[test]
fn a_hello_is_read_in_every_version_and_in_pieces_of_any_order() {
    let message = message();
    for (version, wire) in [(&V1, (1, 0)), (&V2, (0x6b33_43cf, 1)), (&DRAFT, (0xff00_001d, 0))] {
        let keys = Keys::new(version, &ID).unwrap();
        for cut in 1..message.len() {
            let (first, second) = (crypto(0, &message[..cut]), crypto(cut, &message[cut..]));
            let mut one = Hello::new(8192);
            let both = [&second[..], &[1], &first].concat();
            assert_eq!(server_name(one.take(&datagram(1, &ID, &keys, wire, &both))).unwrap(), b"example.org");
            let mut two = Hello::new(8192);
            assert_eq!(server_name(two.take(&datagram(2, &ID, &keys, wire, &second))), None);
            // The id of the server, in the meantime; an acknowledgement before.
            let frames = [&[2, 0, 0, 1, 0, 3, 4][..], &first].concat();
            let next = two.take(&datagram(3, b"other", &keys, wire, &frames));
            assert_eq!(server_name(next).unwrap(), b"example.org");
        }
    }
}

#[test]
fn after_a_retry_keys_follow_from_the_new_id() {
    let message = message();
    let mut hello = Hello::new(8192);
    let [first, second] = [&ID[..], b"retried"].map(|id| Keys::new(&V1, id).unwrap());
    assert!(hello.take(&datagram(0, &ID, &first, (1, 0), &crypto(0, &message[..9]))).is_some());
    let whole = hello.take(&datagram(1, b"retried", &second, (1, 0), &crypto(0, &message)));
    assert_eq!(server_name(whole).unwrap(), b"example.org");
}

#[test]
fn memory_is_bounded() {
    let keys = Keys::new(&V1, &ID).unwrap();
    let mut hello = Hello::new(8192);
    for n in 0..1_000 {
        hello.take(&datagram(n, &ID, &keys, (1, 0), &crypto(n as usize * 2 % 8_000, &[5; 1_000])));
        assert!(hello.kept() < 8192 + 1024 + STRETCHES * 64, "{}", hello.kept());
    }
}

proptest! {
    #[test]
    fn a_changed_packet_tells_nothing(at in 0_usize..1_200, bit in 0_u8..8) {
        let mut bytes = datagram(1, &ID, &Keys::new(&V1, &ID).unwrap(), (1, 0), &crypto(0, &message()));
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(Hello::new(8192).take(&bytes), None);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..1_500), head in any::<bool>()) {
        let mut bytes = bytes;
        if head {
            bytes.splice(..bytes.len().min(5), [0xc0, 0, 0, 0, 1]);
            bytes.resize(1_300, 0);
        }
        Hello::new(8192).take(&bytes);
        Hello::new(8192).frames(&bytes);
    }
}
