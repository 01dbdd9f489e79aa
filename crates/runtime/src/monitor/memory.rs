//! Giving memory back once the container runs.

/// Drops the pages of the program's own text and read-only data from this process; the kernel reads them
/// again from the page cache when they are needed. An idle monitor needs few of them.
pub fn release() {
    // First of all, for this takes pages of the program's own.
    // SAFETY: returns free heap pages to the kernel.
    unsafe { libc::malloc_trim(0) };
    let page = rustix::param::page_size();
    for (start, length) in read_only_segments() {
        let first = start.next_multiple_of(page);
        let end = (start + length) / page * page;
        if end > first {
            // SAFETY: these are whole pages of private file mappings that have never been writable, so what
            // is dropped is read again unchanged. (Segments with relocated data are writable ones.)
            unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_DONTNEED) };
        }
    }
}

/// Address and length of the program's loaded segments that are not writable.
fn read_only_segments() -> Vec<(usize, usize)> {
    // SAFETY: the kernel gives every process the address and number of its program headers, which stay mapped.
    let headers: &[libc::Elf64_Phdr] = unsafe {
        let address = libc::getauxval(libc::AT_PHDR) as *const libc::Elf64_Phdr;
        let count = libc::getauxval(libc::AT_PHNUM) as usize;
        if address.is_null() {
            return Vec::new();
        }
        std::slice::from_raw_parts(address, count)
    };
    let Some(base) = load_address(headers) else {
        return Vec::new();
    };
    headers
        .iter()
        .filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0)
        .map(|h| (base + h.p_vaddr as usize, h.p_filesz as usize))
        .collect()
}

/// How far the program was moved from the addresses it was linked for.
fn load_address(headers: &[libc::Elf64_Phdr]) -> Option<usize> {
    let table = headers.as_ptr() as usize;
    if let Some(own) = headers.iter().find(|h| h.p_type == libc::PT_PHDR) {
        return table.checked_sub(own.p_vaddr as usize);
    }
    // A program linked for a fixed address has no entry for the table itself.
    let fixed = headers.iter().any(|h| {
        let start = h.p_vaddr as usize;
        h.p_type == libc::PT_LOAD && (start..start + h.p_filesz as usize).contains(&table)
    });
    fixed.then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_survives_the_loss_of_its_pages() {
        let segments = read_only_segments();
        let here = release as *const () as usize;
        assert!(
            segments
                .iter()
                .any(|&(start, length)| (start..start + length).contains(&here)),
            "{segments:x?}"
        );
        release();
        assert_eq!(format!("{:?}", "still here"), "\"still here\"");
    }
}
