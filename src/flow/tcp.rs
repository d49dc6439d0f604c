//! What a TCP connection has been through: history and state in Zeek's alphabet
//! (<https://docs.zeek.org/en/master/scripts/base/protocols/conn/main.zeek.html>), and bytes that are acknowledged but were
//! never seen.

/// A connection's state, as Zeek names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types, missing_docs, reason = "Zeek's names")]
pub enum ConnState {
    S0,
    S1,
    SF,
    REJ,
    S2,
    S3,
    RSTO,
    RSTR,
    RSTOS0,
    RSTRH,
    SH,
    SHR,
    OTH,
}
