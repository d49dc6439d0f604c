//! Which flow later IP fragments belong to: bounded memory of first fragments.

/// Remembers first fragments: (source, destination, protocol, identification) to ports. The oldest is forgotten first.
#[derive(Debug)]
pub struct Fragments {
    limit: usize,
}

impl Fragments {
    /// Remembers at most `limit`.
    pub fn new(limit: usize) -> Self {
        Self { limit }
    }
}
