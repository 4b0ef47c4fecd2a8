//! A copy in a file: lines at its end, synced before they count. Whether somebody cut or replaced the file is looked at before
//! each write; what it then still has is read back from its last line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::super::chain::{self, Head};
use super::super::export::Line;
use super::SinkError;

/// Longest last line that is looked for.
const LINE_MAX: u64 = 16 * 1024 * 1024;

/// A file and where we stand in it.
pub struct FileSink {
    path: PathBuf,
    open: Option<Open>,
    acknowledged: Option<u64>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Its device and number on that.
    identity: (u64, u64),
    /// How long it is, as far as we have written it.
    length: u64,
}

impl FileSink {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None, acknowledged: None }
    }

    pub(super) fn acknowledged(&self) -> Option<u64> {
        self.acknowledged
    }

    /// Opens the file and reads its last entry. A line that was cut off in the middle, as a crash leaves it, is taken away.
    pub(super) async fn has(&mut self) -> Result<Head, SinkError> {
        (self.open, self.acknowledged) = (None, None);
        let path = self.path.clone();
        let (open, head) = blocking(move || open(&path)).await?;
        self.open = Some(open);
        Ok(head)
    }

    pub(super) async fn send(&mut self, lines: &[Line]) -> Result<(), SinkError> {
        let Some(last) = lines.last().map(|line| line.seq) else { return Ok(()) };
        let Some(mut open) = self.open.take() else {
            return Err(SinkError::Failed("the file is not open".into()));
        };
        let text: String = lines.iter().map(|line| line.text() + "\n").collect();
        let path = self.path.clone();
        let open = blocking(move || {
            open.is_still(&path)?;
            open.file.write_all(text.as_bytes())?;
            open.file.sync_data()?;
            open.length += text.len() as u64;
            Ok(open)
        })
        .await;
        // After a failure it is opened anew, and read back.
        self.open = Some(open?);
        self.acknowledged = Some(last);
        Ok(())
    }
}

impl Open {
    /// Whether the file is the one that we wrote, and as long as we left it.
    fn is_still(&self, path: &Path) -> Result<(), SinkError> {
        let there = std::fs::metadata(path)?;
        if (there.dev(), there.ino()) != self.identity {
            return Err(SinkError::Failed("the file was replaced by another".into()));
        }
        if there.len() != self.length {
            let (is, was) = (there.len(), self.length);
            return Err(SinkError::Failed(format!("the file has {is} bytes, and we left it with {was}")));
        }
        Ok(())
    }
}

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        Self::of(&error)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SinkError::of(&error))?
}

fn open(path: &Path) -> Result<(Open, Head), SinkError> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(SinkError::Foreign(format!("{} is not a regular file", path.display())));
    }
    let (head, length) = read_back(&mut file, path, meta.len())?;
    if length < meta.len() {
        file.set_len(length)?;
    }
    // The name itself must be on the disk before anything counts.
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        File::open(folder)?.sync_all()?;
    }
    Ok((Open { file, identity: (meta.dev(), meta.ino()), length }, head))
}

/// The last whole entry, and where it ends.
fn read_back(file: &mut File, path: &Path, length: u64) -> Result<(Head, u64), SinkError> {
    let foreign = || {
        let path = path.display();
        SinkError::Foreign(format!(
            "the end of {path} is not of this log: move the file away, and a new one is begun"
        ))
    };
    let start = length.saturating_sub(LINE_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|b| *b == b'\n') else {
        // One torn line and nothing before it, or nothing at all.
        return if start == 0 && (bytes.is_empty() || bytes.starts_with(b"{\"seq\":")) {
            Ok((Head::none(), 0))
        } else {
            Err(foreign())
        };
    };
    let whole = bytes.get(..end).unwrap_or_default();
    let line = whole.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).ok().and_then(|line| Line::read(line).ok()).ok_or_else(foreign)?;
    let hash = line.hash.clone().unwrap_or_default();
    if !hash.is_empty() && chain::hash(&line.prev, line.link()) != hash {
        return Err(foreign());
    }
    Ok((Head { seq: line.seq, hash }, start + end as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn lines(from: u64, to: u64) -> Vec<Line> {
        let mut prev = String::new();
        let mut all = Vec::new();
        for seq in 1..=to {
            let at = Timestamp::from_secs(seq);
            let mut line = Line { seq, at, kind: "k".into(), json: "{}".into(), prev, hash: None };
            let hash = chain::hash(&line.prev, line.link());
            prev = hash.clone();
            line.hash = Some(hash);
            all.push(line);
        }
        all.split_off(from as usize - 1)
    }

    #[tokio::test]
    async fn what_a_file_has_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.ndjson");
        let mut sink = FileSink::new(path.clone());
        assert!(sink.send(&lines(1, 2)).await.is_err(), "not open yet");
        assert_eq!(sink.has().await.unwrap(), Head::none());
        sink.send(&lines(1, 3)).await.unwrap();
        sink.send(&lines(4, 5)).await.unwrap();
        assert_eq!(sink.acknowledged(), Some(5));
        let whole = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // As a crash leaves it, after every byte of the last line.
        let last = whole[..whole.len() - 1].rfind('\n').unwrap() + 1;
        for cut in last..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(sink.send(&lines(6, 6)).await.is_err(), "{cut}: it is not as long as it was");
            assert_eq!(sink.has().await.unwrap().seq, 4, "{cut}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole[..last], "{cut}");
        }
        sink.send(&lines(5, 5)).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        // Replaced while we look away.
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        assert!(sink.send(&lines(6, 6)).await.is_err(), "gone");
        std::fs::copy(dir.path().join("old"), &path).unwrap();
        assert!(sink.send(&lines(6, 6)).await.is_err(), "not opened");
        assert_eq!(sink.has().await.unwrap().seq, 5);
        for foreign in ["something\n", "something", "{\"seq\":1}\n", &whole.replace("{}", "{ }")] {
            std::fs::write(&path, foreign).unwrap();
            assert!(matches!(sink.has().await, Err(SinkError::Foreign(_))), "{foreign}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign, "left alone");
        }
    }
}
