use super::parse::huge_page_size;
use super::*;

#[test]
fn both_block_io_formats_tell_devices_apart() {
    let io = |read_bytes, write_bytes, reads, writes| BlockIo {
        read_bytes,
        write_bytes,
        reads,
        writes,
    };
    let v2 = "8:0 rbytes=10 wbytes=2 rios=2 wios=4 dbytes=0\n8:16 rbytes=1 rios=1\n";
    let expected = BTreeMap::from([((8, 0), io(10, 2, 2, 4)), ((8, 16), io(1, 0, 1, 0))]);
    assert_eq!(io_stat(v2), expected);
    let bytes = "8:0 Read 10\n8:0 Write 2\n8:0 Total 12\n8:16 Read 1\nTotal 13\n";
    let operations = "8:0 Read 2\n8:0 Write 4\n8:16 Read 1\nTotal 7\n";
    assert_eq!(blkio(bytes, operations), expected);
}

#[test]
fn tables_are_looked_up_by_whole_key() {
    let table = Table("user 12\nsystem 3\n".to_owned());
    assert_eq!(table.get("user"), 12);
    assert_eq!(table.get("use"), 0);
}

#[test]
fn pressure_is_read_where_there_is_some() {
    let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=4711\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=12\n";
    let found = pressure(text).unwrap();
    assert_eq!((found.some.avg10, found.some.avg60), (1.5, 0.25));
    assert_eq!(
        (found.some.total_micros, found.full.total_micros),
        (4711, 12)
    );
    assert_eq!(pressure(""), None);
}

#[test]
fn huge_pages_have_the_names_of_their_files() {
    let name = |directory| huge_page_size(directory).unwrap();
    assert_eq!(name("hugepages-2048kB"), "2MB");
    assert_eq!(name("hugepages-1048576kB"), "1GB");
    assert_eq!(name("hugepages-64kB"), "64KB");
    assert_eq!(huge_page_size("other"), None);
}
