//! The index thread: follows the catalog into the database. A commit may take a second and a broken disk for ever; nobody
//! waits for it, and when it cannot follow it says so and catches up from the whole catalog later.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use tracing::{info, warn};

use super::health::Health;
use crate::index::writer::{self, IndexWriter, Was};
use crate::store::catalog::{Catalog, Change};

/// What the index is told.
#[derive(Debug)]
pub(super) enum Update {
    /// The catalog has changed.
    Changes(Vec<Change>),
    /// This is the catalog; whatever differs is to be made equal.
    Catalog(Box<Catalog>),
}

/// Follows until there are no more updates.
pub(super) fn follow(mut index: IndexWriter, updates: &Receiver<Update>, health: &Arc<Health>) {
    for update in updates {
        match update {
            Update::Changes(changes) => {
                let was_current = *index.health() == writer::Health::Current;
                if let (writer::Health::Stale(why), true) = (index.write(&changes), was_current) {
                    warn!("the index no longer follows: {why}; recording goes on");
                }
            }
            Update::Catalog(catalog) => recover(&mut index, &catalog),
        }
        let stale = *index.health() != writer::Health::Current;
        health.index_stale.store(stale, Ordering::Relaxed);
    }
}

fn recover(index: &mut IndexWriter, catalog: &Catalog) {
    match index.recover(catalog) {
        Ok(recovery) => {
            match recovery.was {
                Was::Ready => {}
                Was::Missing => info!("made a new index"),
                Was::Older(version) => info!("brought the index from schema {version} up to date"),
                Was::PutAside { to, why } => warn!("put the index aside as {}: {why}", to.display()),
            }
            if !recovery.differed.is_empty() {
                info!("brought {} rows of the index up to date", recovery.differed.len());
            }
        }
        Err(error) => warn!("the index cannot follow: {error}; recording goes on, the files answer"),
    }
}
