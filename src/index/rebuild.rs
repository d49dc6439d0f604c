//! The index made anew from what the files and the ledger say: on disk in place of the old one, or in memory
//! for readers when there is none to be read. Either answers as the one that was kept up all along.

use std::io::ErrorKind;
use std::path::Path;

use rusqlite::Connection;

use super::files::{self, beside};
use super::query::Reader;
use super::summaries::{self, Table};
use super::{IndexError, rows, schema, writer};
use crate::flow::summary::Encoded;
use crate::store::catalog::{Catalog, Change, Unknown};
use crate::store::facts::CaptureFacts;
use crate::store::progress::{Walk, Watch};
use crate::store::scan::{Scan, ScanError};

/// Scans every file of which the catalog knows nothing, and takes the result in. A file that is gone by then
/// is forgotten; one that cannot be read is damaged. Returns what changed, for an index that is kept up. If whoever waits gives up,
/// neither that nor the catalog is worth anything.
pub fn complete(
    catalog: &mut Catalog,
    mut scan: impl FnMut(&Unknown, &mut Walk<'_>) -> Result<Scan, ScanError>,
    watch: Watch<'_>,
) -> Vec<Change> {
    let unknown = catalog.take_unknown();
    let mut walk = Walk::new(unknown.iter().map(|file| file.size).sum(), watch);
    let mut changes = Vec::new();
    for file in unknown {
        if !walk.begin(file.size) {
            break;
        }
        match scan(&file, &mut walk) {
            Ok(found) => changes.extend(catalog.put(file.facts(Some(&found)))),
            Err(ScanError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                catalog.forget(file.name)
            }
            Err(_) => changes.extend(catalog.put(file.facts(None))),
        }
    }
    changes
}

/// Writes a new index from the catalog and lets it take the place of the one at `path`, in one step. Nobody
/// else may be writing it; whoever reads the old one reads on.
///
/// # Errors If it cannot be written; the old one is still there then.
pub fn replace(path: &Path, catalog: &Catalog) -> Result<(), IndexError> {
    replace_with(path, catalog, |_| Ok(None))
}

/// Like [`replace`], with the summaries that `summarise` makes of the files. Of a file that has none a question reads the packets.
///
/// # Errors
/// If it cannot be written, and those of `summarise`; the old one is still there then, and nothing of the new one.
pub fn replace_with(
    path: &Path,
    catalog: &Catalog,
    summarise: impl FnMut(&CaptureFacts) -> Result<Option<Encoded>, IndexError>,
) -> Result<(), IndexError> {
    let new = beside(path, ".new");
    files::remove(&new)?;
    let made = make(&new, catalog, summarise).and_then(|()| files::replace(&new, path));
    if made.is_err() {
        // Why it is not there is what matters.
        let _ = files::remove(&new);
    }
    made
}

fn make(
    new: &Path,
    catalog: &Catalog,
    mut summarise: impl FnMut(&CaptureFacts) -> Result<Option<Encoded>, IndexError>,
) -> Result<(), IndexError> {
    let mut db = writer::create_plain(new)?;
    let failed = |source| IndexError::of("rebuild", new, source);
    fill(&mut db, catalog).map_err(failed)?;
    for facts in catalog.captures() {
        if let Some(summary) = summarise(facts)? {
            summaries::put(&db, Table::Captures, facts.name.number(), facts.size, &summary)
                .map_err(failed)?;
        }
    }
    db.close().map_err(|(_, source)| failed(source))
}

/// An index in memory, for one question.
///
/// # Errors
/// Those of SQLite.
pub fn in_memory(catalog: &Catalog) -> Result<Reader, IndexError> {
    let build = || {
        let mut db = Connection::open_in_memory()?;
        schema::migrate(&mut db)?;
        fill(&mut db, catalog)?;
        Ok(db)
    };
    build().map(Reader::in_memory).map_err(|source| IndexError::of("build", Path::new(":memory:"), source))
}

fn fill(db: &mut Connection, catalog: &Catalog) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    let puts = catalog.rows().into_iter().map(Change::Put);
    let gaps = catalog.gaps().cloned().map(Change::Gap);
    let flows = catalog.flow_rows().into_iter().map(|row| Change::PutFlow(Box::new(row)));
    let findings = catalog.findings().cloned().map(Change::Finding);
    for change in puts.chain(gaps).chain(flows).chain(findings) {
        rows::write(&transaction, &change)?;
    }
    transaction.commit()
}
