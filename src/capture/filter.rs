//! Capture filters in the language of `pcap-filter(7)`, compiled by libpcap and run by our own machine, so
//! that one expression means one thing wherever it is used. The `pcap` crate is used here and in live capture
//! only.
//!
//! The rule: an expression without the word `vlan` is matched on the frame without its 802.1Q tags, one with
//! it on the frame as recorded, live and offline alike. The kernel cannot keep it alone, for it strips the
//! outer tag only; so what it is given lets every tagged frame pass ([`Filter::kernel_expression`]), and
//! those are tested again ([`Filter::needs_retest`]).

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
    /// If libpcap refuses the expression: says where and, if it was meant for Wireshark, what to write
    /// instead.
    pub fn compile(expression: &str, link: LinkType) -> Result<Self, FilterError> {
        if expression.trim().is_empty() {
            return Ok(Self { program: None, untag: false, kernel: None });
        }
        let program =
            compile(expression, link).map_err(|refusal| FilterError::new(expression, link, refusal))?;
        let says_vlan = words(expression).any(|word| &expression[word] == "vlan");
        let ethernet = link == LinkType::ETHERNET;
        // A loop the kernel refuses, and libpcap would then run it itself, for as long as a hostile packet makes it.
        let loops = words(expression).any(|word| &expression[word] == "protochain");
        let kernel = if says_vlan || loops {
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

    /// What to install in the kernel for a live capture: an expression that passes at least what this one
    /// does. None if everything has to come up.
    pub fn kernel_expression(&self) -> Option<&str> {
        self.kernel.as_deref()
    }

    /// Whether a frame that came past [`Filter::kernel_expression`] still has to be tested with
    /// [`Filter::matches`].
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

/// Link types whose number in files is not libpcap's own (`pcap-common.c`, on Linux): that in files, and libpcap's.
const RENUMBERED: [(u16, i32); 5] = [(100, 11), (101, 12), (102, 15), (103, 16), (106, 19)];

/// libpcap's own number for a link type.
fn dlt(link: LinkType) -> i32 {
    RENUMBERED.iter().find(|(file, _)| *file == link.0).map_or(link.0.into(), |&(_, own)| own)
}

/// The link type of libpcap's own number; none if a file cannot tell it.
pub(super) fn link_type(dlt: i32) -> Option<LinkType> {
    let renumbered = RENUMBERED.iter().find(|(_, own)| *own == dlt).map(|&(file, _)| file);
    renumbered.or_else(|| u16::try_from(dlt).ok()).map(LinkType)
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
        let advice =
            display_filter::looks_like(expression).then(|| match display_filter::to_bpf(expression) {
                Some(form) if compiles(&form) => {
                    format!("this looks like a Wireshark display filter; in BPF it reads:\n  {form}")
                }
                _ => "this looks like a Wireshark display filter; a capture filter is written in BPF, \
                  see pcap-filter(7), for example: tcp port 443 and host 192.0.2.1"
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

/// The first word that no expression can have there: what comes before can be completed, with it nothing can.
/// The place behind the last word if something is missing there.
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
mod tests;
