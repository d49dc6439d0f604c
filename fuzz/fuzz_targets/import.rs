//! Any file that is said to be a capture: pcap, pcapng, gzip of either. What can be read of it is decoded.
#![no_main]

use std::cell::RefCell;
use std::io::{Seek, Write};

use libfuzzer_sys::fuzz_target;
use tapkeep::capture::replay::Import;
use tapkeep::packet::MAX_SNAPLEN;
use tapkeep::packet::decode::decode;
use tempfile::NamedTempFile;

thread_local! {
    static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().expect("a temporary file"));
}

fuzz_target!(|input: &[u8]| {
    FILE.with_borrow_mut(|file| {
        let inner = file.as_file_mut();
        inner.set_len(0).expect("empty the file");
        inner.rewind().expect("rewind the file");
        inner.write_all(input).expect("write the file");
        let Ok(mut import) = Import::open(file.path()) else { return };
        // A gzip bomb is no hang, but longer than a fuzzer waits.
        for _ in 0..10_000 {
            let Ok(Some(packet)) = import.next() else { break };
            let frame = packet.frame;
            assert!(frame.data.len() <= MAX_SNAPLEN as usize);
            assert!(decode(packet.link, frame.data, frame.wire_len).path.depth() > 0);
        }
    });
});
