//! Any range, rests, and files that change meanwhile.

use std::io::Write as _;

use super::*;

fn file(content: &[u8], size: u64) -> LocalFile {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    LocalFile::new(file, size, &Arc::default(), None)
}

async fn read(file: &LocalFile, range: Range<u64>) -> io::Result<Vec<u8>> {
    let (mut reader, mut all) = (file.clone().read(range), Vec::new());
    while let Some(bytes) = reader.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all)
}

#[tokio::test]
async fn any_range_is_what_the_file_holds_there() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let file = file(&content, content.len() as u64);
    for range in [0..content.len(), 0..1, 7..7, 65_535..65_537, 1_000_000..2_999_999, 2_999_999..3_000_000] {
        assert_eq!(read(&file, range.start as u64..range.end as u64).await.unwrap(), content[range]);
    }
}

#[tokio::test]
async fn pieces_that_are_sent_in_part_go_on_to_the_same_end() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let path = folder.path().join("blob");
    std::fs::write(&path, vec![7; 3_000_000]).unwrap();
    let file = LocalFile::new(File::open(&path).unwrap(), 3_000_000, &Arc::default(), None);
    let mut reader = file.read(1..3_000_000);
    let Some(first) = reader.in_file() else { return }; // a file system that cannot say
    assert_eq!((first.offset, first.count), (1, 2 << 20));
    reader.skip(1000);
    let rest = reader.in_file().unwrap();
    assert_eq!((rest.offset, rest.count), (1001, (2 << 20) - 1000));
    reader.skip(rest.count);
    let last = reader.in_file().unwrap();
    assert_eq!((last.offset, last.offset + last.count as u64), (1 + (2 << 20), 3_000_000));
    reader.skip(last.count);
    assert!(reader.in_file().is_none());
}

#[tokio::test]
async fn a_reader_that_rests_holds_no_file_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    std::fs::write(&path, vec![7; 600_000]).unwrap();
    let file = LocalFile::new(File::open(&path).unwrap(), 600_000, &Arc::default(), None);
    let mut reader = file.clone().read(0..600_000);
    let mut length = 0;
    while let Some(bytes) = reader.next().await {
        length += bytes.unwrap().len();
        reader.from.open.close();
        assert!(file.open.open_now().is_none());
    }
    assert_eq!(length, 600_000);
}

#[tokio::test]
async fn a_file_that_was_replaced_while_its_reader_rested_is_not_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    std::fs::write(&path, vec![7; 600_000]).unwrap();
    let unlinked = LocalFile::new(File::open(&path).unwrap(), 600_000, &Arc::default(), None);
    let mut reader = LocalFile::new(File::open(&path).unwrap(), 600_000, &Arc::default(), None).read(0..600_000);
    reader.next().await.unwrap().unwrap();
    reader.from.open.close();
    std::fs::rename(&path, folder.path().join("old")).unwrap();
    std::fs::write(&path, vec![8; 600_000]).unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
    // What has no name any more is kept open.
    std::fs::remove_file(folder.path().join("old")).unwrap();
    let mut reader = unlinked.read(0..600_000);
    reader.from.open.close();
    assert_eq!(reader.next().await.unwrap().unwrap()[0], 7);
}

#[tokio::test]
async fn a_file_that_was_cut_never_ends_cleanly() {
    let file = file(b"half", 8);
    assert_eq!(read(&file, 0..8).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn when_much_is_lent_pieces_are_small_and_whole_all_the_same() {
    let content = vec![7; 200_000];
    let file = file(&content, 200_000);
    let mut held = Vec::new();
    while file.buffers.allowance().copy.is_none() {
        held.push(file.buffers.take(1 << 20));
    }
    let mut reader = file.clone().read(0..200_000);
    assert!(reader.next().await.unwrap().unwrap().len() <= 16 << 10);
    assert_eq!(read(&file, 0..200_000).await.unwrap(), content);
}
