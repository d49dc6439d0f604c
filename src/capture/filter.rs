//! Capture filters in the language of `pcap-filter(7)`, compiled by libpcap and run by our own machine, so that one
//! expression means one thing wherever it is used. The `pcap` crate is used here and in live capture only.
//!
//! The rule: an expression without the word `vlan` is matched on the frame without its 802.1Q tags, one with it on the
//! frame as recorded, live and offline alike. The kernel cannot keep it alone, for it strips the outer tag only; so what it
//! is given lets every tagged frame pass ([`Filter::kernel_expression`]), and those are tested again
//! ([`Filter::needs_retest`]).

use std::fmt::{self, Display, Formatter};
use std::ops::Range;

use super::bpf::{Program, View};
use super::display_filter;
use crate::packet::{Frame, LinkType};

/// Bytes of an expression at most; libpcap's parser has no bound of its own.
const MAX_EXPRESSION: usize = 8192;
/// Tags that are taken off a frame at most.
const MAX_TAGS: usize = 8;
/// Bytes before the first tag of an Ethernet frame: two addresses.
const ADDRESSES: usize = 12;
/// Bytes of a tag.
const TAG: usize = 4;

/// A compiled capture filter.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Option<Program>,
    untag: bool,
    kernel: Option<String>,
}

impl Filter {
    /// Compiles `expression` for frames of type `link`; a blank one matches everything.
    ///
    /// # Errors
    /// If libpcap refuses the expression: says where and, if it was meant for Wireshark, what to write instead.
    pub fn compile(expression: &str, link: LinkType) -> Result<Self, FilterError> {
        if expression.trim().is_empty() {
            return Ok(Self { program: None, untag: false, kernel: None });
        }
        let program =
            compile(expression, link).map_err(|refusal| FilterError::new(expression, link, refusal))?;
        let says_vlan = words(expression).any(|word| &expression[word] == "vlan");
        let ethernet = link == LinkType::ETHERNET;
        let kernel = if says_vlan {
            None
        } else if ethernet {
            Some(format!("({expression}) or vlan"))
                .filter(|text| !moves_vlan(text) && compile(text, link).is_ok())
        } else {
            Some(expression.to_owned())
        };
        Ok(Self { program: Some(program), untag: ethernet && !says_vlan, kernel })
    }

    /// Whether the frame passes.
    #[inline]
    pub fn matches(&self, frame: &Frame<'_>) -> bool {
        let Some(program) = &self.program else { return true };
        program.accepts(&match tags(frame.data) {
            tags if self.untag && tags > 0 => {
                View::without(frame.data, frame.wire_len, ADDRESSES, tags * TAG)
            }
            _ => View::whole(frame.data, frame.wire_len),
        })
    }

    /// What to install in the kernel for a live capture: an expression that passes at least what this one does. None if
    /// everything has to come up.
    pub fn kernel_expression(&self) -> Option<&str> {
        self.kernel.as_deref()
    }

    /// Whether a frame that came past [`Filter::kernel_expression`] still has to be tested with [`Filter::matches`].
    #[inline]
    pub fn needs_retest(&self, frame: &Frame<'_>) -> bool {
        self.program.is_some() && (self.kernel.is_none() || self.untag && tags(frame.data) > 0)
    }
}

/// Whole 802.1Q and 802.1ad tags at the front of an Ethernet frame.
fn tags(data: &[u8]) -> usize {
    data.get(ADDRESSES..).map_or(0, |rest| {
        rest.chunks_exact(TAG)
            .take(MAX_TAGS)
            .take_while(|tag| matches!(tag[..2], [0x81, 0x00] | [0x88, 0xa8] | [0x91, 0x00]))
            .count()
    })
}

/// Whether the expression moves the place where a `vlan` behind it would look for the tag.
fn moves_vlan(expression: &str) -> bool {
    words(expression).any(|word| matches!(&expression[word], "mpls" | "pppoes" | "geneve" | "vxlan"))
}

fn compile(expression: &str, link: LinkType) -> Result<Program, String> {
    if expression.len() > MAX_EXPRESSION {
        return Err(format!("longer than {MAX_EXPRESSION} bytes"));
    }
    let message = |error: pcap::Error| match error {
        pcap::Error::PcapError(message) => message,
        pcap::Error::InvalidInputString => "a zero byte".to_owned(),
        other => other.to_string(),
    };
    let program = pcap::Capture::dead(pcap::Linktype(dlt(link)))
        .and_then(|handle| handle.compile(expression, true))
        .map_err(message)?;
    // The crate shows an instruction only as text: code, jump if true, jump if false, constant.
    let instruction = |text: String| {
        let mut numbers = text.split(' ');
        Some((
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
        ))
    };
    let instructions: Option<Vec<_>> =
        program.get_instructions().iter().map(|one| instruction(one.to_string())).collect();
    instructions
        .and_then(|all| Program::decode(all.into_iter()))
        .ok_or_else(|| "libpcap made instructions that are not known here".to_owned())
}

/// libpcap's own number for a link type where it differs from the one in files (`pcap-common.c`, on Linux).
fn dlt(link: LinkType) -> i32 {
    match link.0 {
        100 => 11,
        101 => 12,
        102 => 15,
        103 => 16,
        106 => 19,
        other => other.into(),
    }
}

/// The places of the words of an expression; whatever is neither space nor part of a word stands alone.
fn words(expression: &str) -> impl Iterator<Item = Range<usize>> {
    let in_word = |c: char| c.is_alphanumeric() || "_.:-\\".contains(c);
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = expression.get(at..)?;
        let start = at + rest.find(|c: char| !c.is_whitespace())?;
        let rest = &expression[start..];
        let one = rest.chars().next()?;
        let len = if in_word(one) {
            rest.find(|c| !in_word(c)).unwrap_or(rest.len())
        } else {
            let pair =
                ["==", "!=", "<=", ">=", "&&", "||", "<<", ">>"].iter().any(|pair| rest.starts_with(pair));
            if pair { 2 } else { one.len_utf8() }
        };
        at = start + len;
        Some(start..at)
    })
}

/// Why an expression is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FilterError {
    expression: String,
    place: Option<Range<usize>>,
    problem: String,
    advice: Option<String>,
}

impl FilterError {
    fn new(expression: &str, link: LinkType, refusal: String) -> Self {
        let compiles = |text: &str| compile(text, link).is_ok();
        let (place, problem) = if expression.len() > MAX_EXPRESSION {
            (None, refusal)
        } else if let Some((place, what)) = unbalanced(expression) {
            (Some(place), what.to_owned())
        } else if refusal.contains("syntax error") {
            (Some(first_misfit(expression, compiles)), "syntax error".to_owned())
        } else {
            (named_in(&refusal, expression), refusal)
        };
        let advice = display_filter::looks_like(expression).then(|| match display_filter::to_bpf(expression) {
            Some(form) if compiles(&form) => {
                format!("this looks like a Wireshark display filter; as a capture filter (BPF) it reads:\n  {form}")
            }
            _ => "this looks like a Wireshark display filter; write a capture filter (BPF, see pcap-filter(7)), \
                  for example: tcp port 443 and host 192.0.2.1"
                .to_owned(),
        });
        Self { expression: expression.to_owned(), place, problem, advice }
    }

    /// The bytes of the expression that are at fault, if that could be found out; empty at its end.
    pub fn place(&self) -> Option<Range<usize>> {
        self.place.clone()
    }
}

impl Display for FilterError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "the capture filter does not compile: {}", self.problem)?;
        if self.expression.len() <= MAX_EXPRESSION {
            let shown =
                |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
            write!(f, "\n  {}", shown(&self.expression))?;
            if let Some(place) = &self.place {
                let columns = |text: &str| text.chars().count();
                let (before, at) = (&self.expression[..place.start], &self.expression[place.clone()]);
                write!(f, "\n  {}{}", " ".repeat(columns(before)), "^".repeat(columns(at).max(1)))?;
            }
        }
        match &self.advice {
            Some(advice) => write!(f, "\n{advice}"),
            None => Ok(()),
        }
    }
}

/// The bracket that has no partner.
fn unbalanced(expression: &str) -> Option<(Range<usize>, &'static str)> {
    let mut open = Vec::new();
    for place in words(expression) {
        match &expression[place.clone()] {
            bracket @ ("(" | "[") => open.push((place, bracket)),
            bracket @ (")" | "]") => {
                let partner = if bracket == ")" { "(" } else { "[" };
                if open.pop().is_none_or(|(_, opened)| opened != partner) {
                    return Some((place, "this bracket closes none"));
                }
            }
            _ => {}
        }
    }
    open.pop().map(|(place, _)| (place, "this bracket is never closed"))
}

/// The word that libpcap's message quotes, or else the last one that it names.
fn named_in(message: &str, expression: &str) -> Option<Range<usize>> {
    let named = |word: &Range<usize>, quote: &str| {
        let said = format!("{quote}{}{quote}", &expression[word.clone()]);
        message.split([' ', ',', '"']).any(|part| part == said)
    };
    words(expression)
        .find(|word| named(word, "'"))
        .or_else(|| words(expression).filter(|word| named(word, "")).last())
}

/// The first word that no expression can have there: what comes before can be completed, with it nothing can. The place
/// behind the last word if something is missing there.
fn first_misfit(expression: &str, compiles: impl Fn(&str) -> bool) -> Range<usize> {
    const ENDINGS: [&str; 12] = [
        "",
        "ip",
        "1",
        "host 1.2.3.4",
        "1.2.3.4",
        "2:0:0:0:0:1",
        "= 1",
        "1 = 1",
        "] = 1",
        "0] = 1",
        "1] = 1",
        "1 = 1) = 1",
    ];
    let words: Vec<_> = words(expression).collect();
    let can_begin = |count: usize| {
        let begun = &expression[..words.get(count.wrapping_sub(1)).map_or(0, |last| last.end)];
        let mut closing = String::new();
        for word in words.iter().take(count) {
            match &expression[word.clone()] {
                "(" => closing.insert(0, ')'),
                "[" => closing.insert(0, ']'),
                ")" | "]" => drop(closing.pop()),
                _ => {}
            }
        }
        ENDINGS.iter().any(|ending| {
            compiles(&format!("{begun} {ending}{closing}"))
                || compiles(&format!("{begun} {ending}{closing} = 1"))
                || !closing.is_empty() && compiles(&format!("{begun} {ending}"))
        })
    };
    // Whatever begins a filter has only beginnings of filters before it.
    let counts: Vec<usize> = (1..=words.len()).collect();
    let sound = counts.partition_point(|count| can_begin(*count));
    words.get(sound).cloned().unwrap_or(expression.trim_end().len()..expression.trim_end().len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPRESSIONS: [&str; 30] = [
        "ip",
        "ip6",
        "arp",
        "tcp",
        "udp port 53",
        "port 53",
        "host 10.0.0.1",
        "src net 10.0.0.0/8",
        "not tcp",
        "tcp[tcpflags] & tcp-syn != 0",
        "ip[2:2] - ((ip[0] & 0xf) << 2) > 40",
        "greater 60",
        "less 60",
        "len = 64",
        "ether host 02:00:00:00:00:01",
        "ether multicast",
        "vlan",
        "vlan 5",
        "vlan and ip",
        "vlan and vlan and udp",
        "ip proto 17 or ip6 proto 17",
        "ip protochain 6",
        "ip6 protochain 17",
        "icmp[icmptype] = 8",
        "mpls",
        "pppoes and ip",
        "ether[0] & 1 != 0 and ip[8] < 5",
        "tcp portrange 80-90",
        "ether[len - 1] = 0",
        "ip[8] % 4 = 1 and ip[9] / 3 = 5",
    ];

    /// An Ethernet frame with a UDP packet from 10.0.0.1 to 10.0.0.2 port 53, behind tags.
    fn udp(tags: &[[u8; 4]]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        frame.extend(tags.iter().flatten());
        frame.extend([0x08, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x30, 0x39, 0, 53, 0, 26, 0, 0]);
        frame.resize(60 + 4 * tags.len(), 0);
        frame
    }

    fn passes(expression: &str, data: &[u8]) -> bool {
        let frame = Frame { sec: 0, frac: 0, wire_len: data.len() as u32, data };
        Filter::compile(expression, LinkType::ETHERNET).unwrap().matches(&frame)
    }

    const OUTER: [u8; 4] = [0x88, 0xa8, 0, 7];
    const INNER: [u8; 4] = [0x81, 0x00, 0, 5];

    #[test]
    fn without_the_word_vlan_tags_are_not_there() {
        for tags in [&[][..], &[INNER], &[OUTER, INNER], &[[0x91, 0, 0, 1], OUTER, INNER]] {
            let frame = udp(tags);
            for (expression, expected) in [
                ("", true),
                ("host 10.0.0.1", true),
                ("udp dst port 53 and ip[8] = 64", true),
                ("len = 60", true),
                ("ether host 02:00:00:00:00:01", true),
                ("ether[10:4] = 0x00010800", true),
                ("ether proto 0x8100 or ether proto 0x88a8", false),
                ("tcp", false),
            ] {
                assert_eq!(passes(expression, &frame), expected, "{expression:?} with {} tags", tags.len());
            }
        }
    }

    #[test]
    fn with_the_word_vlan_the_frame_is_as_recorded() {
        let (plain, tagged, double) = (udp(&[]), udp(&[INNER]), udp(&[OUTER, INNER]));
        for (expression, on_plain, on_tagged, on_double) in [
            ("vlan", false, true, true),
            ("vlan 5", false, true, false),
            ("vlan 7 and vlan 5 and udp port 53", false, false, true),
            ("vlan and udp port 53", false, true, false),
            ("host 10.0.0.1 or vlan", true, true, true),
            ("host 10.0.0.1 and not vlan", true, false, false),
            ("vlan&&len=64", false, true, false),
        ] {
            let got = [&plain, &tagged, &double].map(|frame| passes(expression, frame));
            assert_eq!(got, [on_plain, on_tagged, on_double], "{expression}");
        }
    }

    #[test]
    fn len_is_the_length_on_the_wire() {
        let data = udp(&[INNER]);
        let frame = Frame { sec: 0, frac: 0, wire_len: 1504, data: &data };
        for (expression, expected) in
            [("len = 1500", true), ("vlan and len = 1504", true), ("len < 100", false)]
        {
            let filter = Filter::compile(expression, LinkType::ETHERNET).unwrap();
            assert_eq!(filter.matches(&frame), expected, "{expression}");
        }
    }

    #[test]
    fn frames_cut_anywhere_are_matched_without_harm() {
        let frame = udp(&[OUTER, INNER]);
        for len in 0..frame.len() {
            for expression in EXPRESSIONS {
                passes(expression, &frame[..len]);
            }
        }
        assert_eq!(tags(&[0x81; 12]), 0);
        assert_eq!(tags(&[&[0; 12][..], &[0x81, 0, 0][..]].concat()), 0);
        assert_eq!(tags(&udp(&[INNER; 20])), MAX_TAGS);
    }

    #[test]
    fn the_kernel_passes_every_tagged_frame_and_they_are_tested_again() {
        let (plain, tagged) = (udp(&[]), udp(&[INNER]));
        let (plain, tagged) =
            [&plain, &tagged].map(|data| Frame { sec: 0, frac: 0, wire_len: 60, data }).into();
        for (expression, kernel, plain_again, tagged_again) in [
            ("  ", None, false, false),
            ("udp", Some("(udp) or vlan"), false, true),
            ("vlan and udp", None, true, true),
            ("mpls and host 1.2.3.4", None, true, true),
        ] {
            let filter = Filter::compile(expression, LinkType::ETHERNET).unwrap();
            assert_eq!(filter.kernel_expression(), kernel, "{expression}");
            assert_eq!(filter.needs_retest(&plain), plain_again, "{expression}");
            assert_eq!(filter.needs_retest(&tagged), tagged_again, "{expression}");
        }
        let raw = Filter::compile("udp", LinkType(101)).unwrap();
        assert_eq!(raw.kernel_expression(), Some("udp"));
        assert!(!raw.needs_retest(&tagged) && raw.matches(&Frame { data: &plain.data[14..], ..plain }));
    }

    #[test]
    fn an_error_says_where_and_what_instead() {
        for (expression, at, text) in [
            ("tcp.port == 443", "tcp.port", "  tcp port 443"),
            ("ip.addr==1.2.3.4", "ip.addr", "  host 1.2.3.4"),
            ("http", "http", "  tcp port 80"),
            ("udp port 53 or http", "http", "  udp port 53 or tcp port 80"),
            ("http.request.method == \"GET\"", "http.request.method", "pcap-filter(7)"),
            ("udp prt 53", "prt", "syntax error"),
            ("udp port 53 and", "", "syntax error"),
            ("host 10.0.0.1 and port foo", "foo", "unknown port 'foo'"),
            ("host 10.0.0.1 and prt 3 or tcp", "prt", "unknown host 'prt'"),
            ("tcp[13 & 2 != 0", "[", "never closed"),
            ("(tcp and (udp)", "(", "never closed"),
            ("tcp) or udp", ")", "closes none"),
            ("tcp[tcpflags] & (tcp-syn|) != 0", ")", "syntax error"),
            ("port 99999", "99999", "65535"),
            ("tcp\0", "", "zero byte"),
        ] {
            let error = Filter::compile(expression, LinkType::ETHERNET).unwrap_err();
            let shown = error.to_string();
            assert!(shown.contains(text), "{shown}");
            if let Some(place) = error.place() {
                assert_eq!(&expression[place], at, "{shown}");
            } else {
                assert_eq!(at, "", "{shown}");
            }
        }
        let long = Filter::compile(&"tcp or ".repeat(100_000), LinkType::ETHERNET).unwrap_err().to_string();
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn an_error_is_shown_with_a_caret() {
        let error = Filter::compile("ip.src == 10.0.0.1 &&\tdns", LinkType::ETHERNET).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the capture filter does not compile: syntax error\n  ip.src == 10.0.0.1 && dns\n  ^^^^^^\n\
             this looks like a Wireshark display filter; as a capture filter (BPF) it reads:\n  \
             src host 10.0.0.1 and port 53"
        );
    }

    #[test]
    fn a_filter_can_go_to_another_thread() {
        fn check<T: Send + Sync>() {}
        check::<Filter>();
    }

    fn packets() -> impl Strategy<Value = Vec<u8>> {
        let ether = prop_oneof![
            Just(vec![0x08, 0x00, 0x45]),
            Just(vec![0x86, 0xdd, 0x60]),
            Just(vec![0x08, 0x06]),
            Just(vec![0x81, 0x00, 0, 5, 0x08, 0x00, 0x45]),
            Just(vec![0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 5, 0x08, 0x00, 0x45]),
            Just(vec![0x88, 0x47]),
            Just(vec![0x88, 0x64]),
            prop::collection::vec(any::<u8>(), 2),
        ];
        let byte = prop_oneof![Just(0_u8), Just(6), Just(17), Just(51), Just(53), any::<u8>()];
        (prop::collection::vec(any::<u8>(), 12), ether, prop::collection::vec(byte, 0..120))
            .prop_map(|(addresses, ether, rest)| [addresses, ether, rest].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn our_machine_and_libpcap_agree(packet in packets(), which in 0..EXPRESSIONS.len()) {
            let expression = EXPRESSIONS[which];
            let handle = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
            let theirs = handle.compile(expression, true).unwrap().filter(&packet);
            let ours = compile(expression, LinkType::ETHERNET).unwrap();
            prop_assert_eq!(ours.accepts(&View::whole(&packet, packet.len() as u32)), theirs, "{}", expression);
        }
    }
}
