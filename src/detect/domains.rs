//! Names of the Domain Name System as detectors sort them: which part was registered, and which names are left alone. Pure.
//!
//! What a registry gives out is told by a short rule, not by the Public Suffix List: a wrong guess makes a parent too wide or
//! too narrow by one label, and the list would be larger than all detectors.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;

use crate::packet::app::dns::Name;

/// Second-level labels under which countries register third-level ones.
const SECOND_LEVEL: &[&[u8]] = &[
    b"ac", b"ad", b"asn", b"co", b"com", b"ed", b"edu", b"firm", b"gen", b"go", b"gob", b"gov", b"gouv",
    b"govt", b"gr", b"id", b"ltd", b"me", b"mil", b"ne", b"net", b"nhs", b"nom", b"or", b"org", b"plc",
    b"police", b"sch", b"web",
];

/// Suffixes of names that are answered within a site (RFC 6762, RFC 6761, RFC 8375, ICANN's `internal`, and what is in use).
const LOCAL: &[&[u8]] = &[
    b"arpa",
    b"local",
    b"localhost",
    b"localdomain",
    b"lan",
    b"home",
    b"internal",
    b"intranet",
    b"intra",
    b"corp",
    b"private",
    b"workgroup",
    b"domain",
    b"test",
    b"invalid",
    b"example",
    b"onion",
    b"alt",
];

/// Where lists of addresses, domains and files are asked by name: DNSBL, URIBL, reputation of anti-virus.
const LISTS: &[&str] = &[
    "spamhaus.org",
    "spamhaus.net",
    "sorbs.net",
    "spamcop.net",
    "barracudacentral.org",
    "surbl.org",
    "uribl.com",
    "dnswl.org",
    "mailspike.net",
    "abuseat.org",
    "njabl.org",
    "abuse.ch",
    "cymru.com",
    "senderbase.org",
    "habeas.com",
    "isipp.com",
    "sophosxl.net",
    "mcafee.com",
    "e5.sk",
    "trendmicro.com",
    "ctmail.com",
    "fortiguard.net",
    "dnsbl.info",
    "manitu.net",
    "uceprotect.net",
    "psbl.org",
    "invaluement.com",
    "hostkarma.org",
    "junkemailfilter.com",
    "rspamd.com",
    "avast.com",
];

/// Where services of many put a name of each: unique names are their business.
const CLOUDS: &[&str] = &[
    "amazonaws.com",
    "cloudfront.net",
    "akamaiedge.net",
    "akamai.net",
    "akamaized.net",
    "akadns.net",
    "edgekey.net",
    "edgesuite.net",
    "fastly.net",
    "googlevideo.com",
    "googleusercontent.com",
    "gvt1.com",
    "fbcdn.net",
    "azureedge.net",
    "windows.net",
    "trafficmanager.net",
    "cloudapp.net",
    "azure.com",
    "office.com",
    "sharepoint.com",
    "cdn77.org",
    "llnwd.net",
    "herokudns.com",
    "ntp.org",
    "wordpress.com",
    "blogspot.com",
    "tumblr.com",
    "doubleclick.net",
    "2mdn.net",
    "googlesyndication.com",
    "appspot.com",
    "github.io",
    "plex.direct",
    "apple.com",
    "icloud.com",
];

/// A name, split where it was registered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split<'a> {
    name: Name<'a>,
    /// How many labels lie below the registered part.
    below: usize,
}

/// The hash of lower-cased bytes. Not keyed, so that it means the same after a restart: whoever forges equal ones hides a name.
fn hash_labels<'a>(labels: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = FixedState::with_seed(2).build_hasher();
    let mut lower = [0; 64];
    for label in labels {
        let place = &mut lower[..label.len().min(64)];
        place.copy_from_slice(&label[..label.len().min(64)]);
        place.make_ascii_lowercase();
        place.hash(&mut hasher);
    }
    hasher.finish()
}

impl<'a> Split<'a> {
    /// Splits a name; `None` for those that are left alone: the root, local ones, reverse ones, lists of addresses.
    pub(super) fn of(name: Name<'a>) -> Option<Self> {
        let depth = name.depth();
        let tail = |from: usize| name.labels().nth(depth.checked_sub(from)?);
        let last = tail(1)?;
        if LOCAL.iter().any(|local| local.eq_ignore_ascii_case(last)) {
            return None;
        }
        let second = tail(2);
        let wide = last.len() == 2
            && second
                .is_some_and(|second| SECOND_LEVEL.iter().any(|label| label.eq_ignore_ascii_case(second)));
        let kept = if wide { 3 } else { 2 };
        let split = Self { name, below: depth.saturating_sub(kept) };
        (!split.is_reversed_address() && !split.is_of(LISTS)).then_some(split)
    }

    /// Whether anything is registered: not of a name of one label, or of a country's second level alone.
    pub(super) fn has_parent(self) -> bool {
        self.name.depth() >= 2
    }

    /// The labels below the registered part.
    pub(super) fn below(self) -> impl Iterator<Item = &'a [u8]> {
        let count = if self.has_parent() { self.below } else { self.name.depth() };
        self.name.labels().take(count)
    }

    /// The first label of the registered part.
    pub(super) fn registered_label(self) -> Option<&'a [u8]> {
        self.name.labels().nth(self.below)
    }

    /// The hash of the whole name.
    pub(super) fn hash(self) -> u64 {
        hash_labels(self.name.labels())
    }

    /// The hash of the registered part.
    pub(super) fn parent_hash(self) -> u64 {
        hash_labels(self.name.labels().skip(self.below))
    }

    /// The registered part in lower case; other than letters, digits, hyphen and underscore as `?`.
    pub(super) fn parent(self) -> String {
        let mut text = String::new();
        for label in self.name.labels().skip(self.below) {
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|&byte| match byte.to_ascii_lowercase() {
                byte @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') => char::from(byte),
                _ => '?',
            }));
        }
        text
    }

    /// Whether it is a name of a cloud or a delivery network.
    pub(super) fn is_of_a_cloud(self) -> bool {
        self.is_of(CLOUDS)
    }

    fn is_of(self, list: &[&str]) -> bool {
        // Its length tells it from most.
        let len = self.name.labels().skip(self.below).map(|label| label.len() + 1).sum::<usize>();
        list.iter().filter(|entry| entry.len() + 1 == len).any(|entry| {
            let mut labels = self.name.labels().skip(self.below);
            entry
                .split('.')
                .all(|part| labels.next().is_some_and(|label| label.eq_ignore_ascii_case(part.as_bytes())))
                && labels.next().is_none()
        })
    }

    /// Four numbers up to 255, or 32 hexadecimal digits, as a list of addresses is asked (RFC 5782).
    fn is_reversed_address(self) -> bool {
        let number = |label: &&[u8]| label.len() <= 3 && label.iter().all(u8::is_ascii_digit);
        let digit = |label: &&[u8]| label.len() == 1 && label[0].is_ascii_hexdigit();
        self.below >= 4
            && (self.name.labels().take(4).all(|label| number(&label))
                || (self.below >= 32 && self.name.labels().take(32).all(|label| digit(&label))))
    }
}

/// Bits that the characters of labels carry by their frequencies (Shannon), case aside.
pub(super) fn information<'a>(labels: impl Iterator<Item = &'a [u8]>) -> f64 {
    let mut counts = [0_u16; 256];
    let mut len = 0_u32;
    for &byte in labels.flatten() {
        counts[usize::from(byte.to_ascii_lowercase())] += 1;
        len += 1;
    }
    let len = f64::from(len);
    counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| -f64::from(count) * (f64::from(count) / len).log2())
        .sum()
}

/// Frequent pairs of letters in English words (Norvig 2013, <https://norvig.com/mayzner.html>): a quarter of all pairs, and nine
/// tenths of those in words.
const PAIRS: &[[u8; 2]] = &[
    *b"th", *b"he", *b"in", *b"er", *b"an", *b"re", *b"nd", *b"on", *b"en", *b"at", *b"ou", *b"ed", *b"ha",
    *b"to", *b"or", *b"it", *b"is", *b"hi", *b"es", *b"ng", *b"st", *b"ar", *b"te", *b"se", *b"me", *b"ea",
    *b"of", *b"le", *b"ve", *b"co", *b"ne", *b"ri", *b"ro", *b"li", *b"la", *b"de", *b"el", *b"ra", *b"ic",
    *b"ti", *b"al", *b"nt", *b"ma", *b"io", *b"ch", *b"ce", *b"om", *b"ll", *b"as", *b"us", *b"ur", *b"ai",
    *b"mo", *b"be", *b"ta", *b"sa", *b"no", *b"un", *b"so", *b"lo", *b"tr", *b"pa", *b"po", *b"pe", *b"pr",
    *b"ge", *b"fo", *b"fa", *b"fi", *b"mi", *b"ac", *b"ad", *b"am", *b"ap", *b"em", *b"et", *b"il", *b"ir",
    *b"id", *b"ol", *b"op", *b"ot", *b"ow", *b"os", *b"oo", *b"ut", *b"ul", *b"up", *b"im", *b"ig", *b"wi",
    *b"wh", *b"wo", *b"wa", *b"we", *b"bo", *b"bl", *b"br", *b"by", *b"ca", *b"ck", *b"cl", *b"cr", *b"ct",
    *b"da", *b"di", *b"do", *b"dr", *b"ee", *b"ei", *b"ev", *b"ex", *b"fl", *b"fr", *b"ga", *b"gr", *b"gi",
    *b"go", *b"ho", *b"hu", *b"ke", *b"ki", *b"ks", *b"ly", *b"na", *b"ni", *b"ns", *b"pl", *b"pi", *b"qu",
    *b"rs", *b"rt", *b"sc", *b"sh", *b"si", *b"sp", *b"ss", *b"su", *b"ty", *b"tu", *b"va", *b"vi", *b"ye",
    *b"ay", *b"ba", *b"bu", *b"ie", *b"ia", *b"ok", *b"ak", *b"oa", *b"od", *b"og", *b"rd", *b"rk", *b"rn",
    *b"mp", *b"nk", *b"ld", *b"lt", *b"lf", *b"ft", *b"ph", *b"pt", *b"ts", *b"tt", *b"ff",
];

/// Whether a label looks as if a machine had made it up: of seven characters or more, less than half of its pairs are frequent
/// ones. Of pairs of random letters a quarter is, of those in names two thirds and more.
pub(super) fn looks_generated(label: &[u8]) -> bool {
    if label.len() < 7 || label.starts_with(b"xn--") {
        return false;
    }
    let is_frequent = |pair: &[u8]| {
        let pair = [pair[0].to_ascii_lowercase(), pair[1].to_ascii_lowercase()];
        PAIRS.contains(&pair)
    };
    let frequent = label.windows(2).filter(|pair| is_frequent(pair)).count();
    frequent * 2 < label.len() - 1
}
