//! Community ID, version 1, seed 0: <https://github.com/corelight/community-id-spec>.

use super::addr::Addr;

/// What an ID is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// From.
    pub src: Addr,
    /// To.
    pub dst: Addr,
    /// IP protocol number.
    pub proto: u8,
    /// Ports; of ICMP and ICMPv6, type and code; `None` for protocols without.
    pub ports: Option<(u16, u16)>,
}

/// An ID: the SHA-1 that its text encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommunityId(pub [u8; 20]);

/// The ports as the ID orders them: an ICMP type and its counterpart (echo and echo reply) are two ends; a type without
/// counterpart keeps its direction. `true` if both directions give the same ID.
pub fn endpoints(proto: u8, first: u16, second: u16) -> (u16, u16, bool) {
    let _ = (proto, first, second);
    todo!("endpoints")
}

impl Tuple {
    /// The ID.
    pub fn id(&self) -> CommunityId {
        todo!("id")
    }
}

impl std::fmt::Display for CommunityId {
    /// `1:` and base64.
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!("display")
    }
}

impl std::str::FromStr for CommunityId {
    type Err = NotACommunityId;

    fn from_str(text: &str) -> Result<Self, NotACommunityId> {
        Err(NotACommunityId(text.to_owned()))
    }
}

/// The text is not a Community ID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a Community ID: {0:?} (expected 1: and 28 characters of base64)")]
pub struct NotACommunityId(String);
