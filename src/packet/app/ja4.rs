//! JA4, the fingerprint of a TLS client's hello, after FoxIO's description "JA4: TLS Client Fingerprinting"
//! (<https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md>), which is free of FoxIO's licence (BSD 3-clause).
//! None of the other methods of the family is here.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::tls::{ALPN, ClientHello, SERVER_NAME, is_grease, version};

/// What carried a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// TCP.
    Tcp,
    /// QUIC.
    Quic,
}

/// The fingerprint of a hello: `t13d1516h2_8daaf6152771_e5627efa2ab1` is one that came over TCP.
pub fn of(hello: &ClientHello<'_>, carrier: Carrier) -> Box<str> {
    let known = |numbers: &[u16]| -> Vec<u16> {
        numbers.iter().copied().filter(|&number| !is_grease(number)).collect()
    };
    let mut ciphers = known(&hello.ciphers);
    let mut extensions = known(&hello.extensions);
    let name = if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
    let counts = [ciphers.len().min(99), extensions.len().min(99)];
    let mut out = String::with_capacity(36);
    out.push(if carrier == Carrier::Quic { 'q' } else { 't' });
    out.push_str(version_name(hello.version()));
    out.push(name);
    let [ciphers_count, extensions_count] = counts;
    // Writing to a string does not fail.
    let _ = write!(out, "{ciphers_count:02}{extensions_count:02}");
    push_alpn(&mut out, hello.alpn.first().copied().unwrap_or_default());

    ciphers.sort_unstable();
    extensions.retain(|&kind| kind != SERVER_NAME && kind != ALPN);
    extensions.sort_unstable();
    let ciphers = list(&ciphers);
    let mut described = list(&extensions);
    let signatures = known(&hello.signatures);
    if !described.is_empty() && !signatures.is_empty() {
        described.push('_');
        described.push_str(&list(&signatures));
    }
    for text in [ciphers, described] {
        out.push('_');
        if text.is_empty() {
            out.push_str("000000000000");
        } else {
            for byte in Sha256::digest(text.as_bytes()).iter().take(6) {
                let _ = write!(out, "{byte:02x}");
            }
        }
    }
    out.into_boxed_str()
}

fn version_name(number: u16) -> &'static str {
    match number {
        version::TLS_1_3 => "13",
        version::TLS_1_2 => "12",
        version::TLS_1_1 => "11",
        version::TLS_1_0 => "10",
        version::SSL_3_0 => "s3",
        version::SSL_2_0 => "s2",
        _ => "00",
    }
}

/// The first and the last character of the first protocol; of its hexadecimal form, if one of them is not alphanumeric.
fn push_alpn(out: &mut String, protocol: &[u8]) {
    let (Some(&first), Some(&last)) = (protocol.first(), protocol.last()) else {
        out.push_str("00");
        return;
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        out.extend([char::from(first), char::from(last)]);
    } else {
        let _ = write!(out, "{:x}{:x}", first >> 4, last & 15);
    }
}

/// Numbers as four hexadecimal digits each, with commas between.
fn list(numbers: &[u16]) -> String {
    let mut out = String::with_capacity(5 * numbers.len());
    for number in numbers {
        let comma = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}{number:04x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello<'a>(
        ciphers: &[u16],
        extensions: &[u16],
        signatures: &[u16],
        alpn: &'a [&'a [u8]],
        versions: &[u16],
    ) -> ClientHello<'a> {
        ClientHello {
            legacy_version: version::TLS_1_2,
            versions: versions.to_vec(),
            ciphers: ciphers.to_vec(),
            extensions: extensions.to_vec(),
            server_name: None,
            alpn: alpn.to_vec(),
            signatures: signatures.to_vec(),
        }
    }

    /// The example of FoxIO's description, in the order in which that client sends, with GREASE in every list.
    #[test]
    fn it_is_that_of_the_description() {
        let ciphers = [
            0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
            0x009c, 0x009d, 0x002f, 0x0035,
        ];
        let extensions = [
            0x3a3a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012,
            0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0xcaca,
        ];
        let signatures = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
        let hello =
            hello(&ciphers, &extensions, &signatures, &[b"h2", b"http/1.1"], &[0xfafa, 0x0304, 0x0303]);
        assert_eq!(&*of(&hello, Carrier::Tcp), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    /// What the description says of hellos that lack something; sums by `printf … | sha256sum`.
    #[test]
    fn what_is_not_there_is_zeros() {
        assert_eq!(
            &*of(&hello(&[], &[], &[], &[], &[]), Carrier::Tcp),
            "t12i000000_000000000000_000000000000"
        );
        // `printf 000a | sha256sum`; without signature algorithms there is no underscore.
        assert_eq!(
            &*of(&hello(&[], &[10], &[], &[b"\xab\xcd"], &[]), Carrier::Tcp),
            "t12i0001ad_000000000000_a8f3e973773c"
        );
    }
}
