//! Writes down what happens to files in an sftp session, before it happens.

use crate::app::App;
use crate::audit::AuditEvent;
use crate::ids::SessionId;
use crate::inspect::sftp::Note;
use crate::store::StoreError;

/// All of `notes` in their order, in one transaction; nothing for none.
pub async fn write_down(app: &App, session: &SessionId, notes: Vec<Note>) -> Result<(), StoreError> {
    if notes.is_empty() {
        return Ok(());
    }
    let events = notes.into_iter().map(|note| event(session, note)).collect();
    app.store.note_all(app.clock.now(), events).await
}

fn event(session: &SessionId, note: Note) -> AuditEvent {
    let session = session.clone();
    match note {
        Note::Operation { op, path, second, allowed, rule } => {
            AuditEvent::FileOperation { session, op, path, second, allowed, rule }
        }
        Note::Transferred { path, way, bytes, sha256 } => {
            AuditEvent::FileTransferred { session, path, direction: way.as_str(), bytes, sha256 }
        }
    }
}
