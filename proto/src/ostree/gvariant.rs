//! GVariant serialisation, as far as OSTree's objects need it: containers are cut into their members.
//!
//! Only normal form is accepted, so that no other reader of the same bytes can see other values.
//! Source: GVariant Specification 1.0, <https://developer.gnome.org/documentation/specifications/gvariant-specification-1.0.html>.

use super::OstreeError;

/// The shape of a container's member.
#[derive(Clone, Copy)]
pub(super) enum Member {
    /// A fixed-size value: bytes, which are also its alignment.
    Fixed(usize),
    /// A variable-size value with this alignment.
    Var(usize),
}

const ERR: OstreeError = OstreeError::NotNormal;

/// Cuts a tuple or dictionary entry that has at least one variable-size member into its members.
pub(super) fn tuple<const N: usize>(bytes: &[u8], members: [Member; N]) -> Result<[&[u8]; N], OstreeError> {
    let width = offset_width(bytes.len());
    let variable = |m: &&Member| matches!(m, Member::Var(_));
    let framed = members.iter().take(N - 1).filter(variable).count();
    let table = framed.checked_mul(width).and_then(|len| bytes.len().checked_sub(len)).ok_or(ERR)?;
    let mut out = [&bytes[..0]; N];
    let (mut end, mut taken) = (0usize, 0usize);
    for (i, member) in members.into_iter().enumerate() {
        let (Member::Fixed(align) | Member::Var(align)) = member;
        let start = padded(bytes, end, align)?;
        end = match member {
            Member::Fixed(size) => start + size,
            Member::Var(_) if i == N - 1 => table,
            Member::Var(_) => {
                taken += 1;
                read_offset(bytes, bytes.len() - taken * width, width)?
            }
        };
        out[i] = bytes.get(start..end).filter(|_| end <= table).ok_or(ERR)?;
    }
    if end == table && is_smallest_width(table, framed, width) { Ok(out) } else { Err(ERR) }
}

/// Cuts an array of variable-size elements into at most `max` elements.
pub(super) fn array(bytes: &[u8], align: usize, max: usize) -> Result<Vec<&[u8]>, OstreeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let width = offset_width(bytes.len());
    let table = read_offset(bytes, bytes.len().checked_sub(width).ok_or(ERR)?, width)?;
    let table_len = bytes.len().checked_sub(table).ok_or(ERR)?;
    if table_len == 0 || table_len % width != 0 {
        return Err(ERR);
    }
    let count = table_len / width;
    if count > max {
        return Err(OstreeError::TooMany { count, max });
    }
    if !is_smallest_width(table, count, width) {
        return Err(ERR);
    }
    let mut out = Vec::with_capacity(count);
    let mut end = 0;
    for i in 0..count {
        let start = padded(bytes, end, align)?;
        end = read_offset(bytes, table + i * width, width)?;
        out.push(bytes.get(start..end).filter(|_| end <= table).ok_or(ERR)?);
    }
    Ok(out)
}

/// A string: valid UTF-8, a NUL at the end and none before.
pub(super) fn string(bytes: &[u8]) -> Result<&str, OstreeError> {
    let (last, text) = bytes.split_last().ok_or(ERR)?;
    if *last != 0 || text.contains(&0) {
        return Err(ERR);
    }
    std::str::from_utf8(text).map_err(|_| ERR)
}

/// A variant: the type string and the bytes of the value.
pub(super) fn variant(bytes: &[u8]) -> Result<(&str, &[u8]), OstreeError> {
    let nul = bytes.iter().rposition(|b| *b == 0).ok_or(ERR)?;
    let kind = std::str::from_utf8(&bytes[nul + 1..]).map_err(|_| ERR)?;
    if kind.is_empty() { Err(ERR) } else { Ok((kind, &bytes[..nul])) }
}

/// An entry of an `a{sv}`: key, type and value.
pub(super) type Entry<'a> = (&'a str, &'a str, &'a [u8]);

/// The entries of an `a{sv}`.
pub(super) fn dictionary(bytes: &[u8], max: usize) -> Result<Vec<Entry<'_>>, OstreeError> {
    let entry = |bytes| {
        let [key, value] = tuple(bytes, [Member::Var(1), Member::Var(8)])?;
        let (kind, value) = variant(value)?;
        Ok((string(key)?, kind, value))
    };
    array(bytes, 8, max)?.into_iter().map(entry).collect()
}

/// An array of variable-size elements that need no alignment, in normal form.
pub(super) fn build_array(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let ends: Vec<usize> = elements
        .iter()
        .map(|element| {
            out.extend_from_slice(element);
            out.len()
        })
        .collect();
    append_offsets(&mut out, ends.into_iter());
    out
}

/// A tuple of a fixed head and variable-size members that need no alignment, in normal form.
pub(super) fn build_tuple(head: &[u8], members: &[&[u8]]) -> Vec<u8> {
    let mut out = head.to_vec();
    let mut ends = Vec::new();
    for member in members {
        out.extend_from_slice(member);
        ends.push(out.len());
    }
    ends.pop();
    append_offsets(&mut out, ends.into_iter().rev());
    out
}

fn append_offsets(out: &mut Vec<u8>, offsets: impl ExactSizeIterator<Item = usize>) {
    let width = smallest_width(out.len(), offsets.len());
    for offset in offsets {
        out.extend_from_slice(&(offset as u64).to_le_bytes()[..width]);
    }
}

/// Bytes of each framing offset of a container of `len` bytes.
fn offset_width(len: usize) -> usize {
    match len as u64 {
        0 => 0,
        1..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn smallest_width(body: usize, offsets: usize) -> usize {
    [1, 2, 4].into_iter().find(|w| offset_width(body + offsets * w) <= *w).unwrap_or(8)
}

fn is_smallest_width(body: usize, offsets: usize, width: usize) -> bool {
    offsets == 0 || smallest_width(body, offsets) == width
}

fn read_offset(bytes: &[u8], at: usize, width: usize) -> Result<usize, OstreeError> {
    let field = bytes.get(at..at + width).ok_or(ERR)?;
    let value = field.iter().rev().fold(0u64, |value, b| value << 8 | u64::from(*b));
    usize::try_from(value).map_err(|_| ERR)
}

/// The next multiple of `align` at or after `at`; the bytes between must be there and zero.
fn padded(bytes: &[u8], at: usize, align: usize) -> Result<usize, OstreeError> {
    let next = at.checked_next_multiple_of(align).ok_or(ERR)?;
    match bytes.get(at..next) {
        Some(padding) if padding.iter().all(|b| *b == 0) => Ok(next),
        _ => Err(ERR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arrays_and_tuples_survive_a_round_trip(elements in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..40)) {
            let bytes = build_array(&elements);
            let back: Vec<Vec<u8>> = array(&bytes, 1, 40).unwrap().into_iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(&back, &elements);
            if let [a, b, c, ..] = elements.as_slice() {
                let bytes = build_tuple(&[1, 2, 3, 4], &[a, b, c]);
                let got = tuple(&bytes, [Member::Fixed(4), Member::Var(1), Member::Var(1), Member::Var(1)]).unwrap();
                prop_assert_eq!(got, [&[1u8, 2, 3, 4][..], a, b, c]);
            }
        }

        #[test]
        fn no_bytes_panic_and_what_is_accepted_is_in_normal_form(bytes in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..12, any::<u8>()], 0..80)) {
            if let Ok(elements) = array(&bytes, 1, 1000) {
                let owned: Vec<Vec<u8>> = elements.into_iter().map(<[u8]>::to_vec).collect();
                prop_assert_eq!(build_array(&owned), bytes.clone());
            }
            if let Ok([a, b]) = tuple(&bytes, [Member::Var(1), Member::Var(1)]) {
                prop_assert_eq!(build_tuple(&[], &[a, b]), bytes.clone());
            }
            let _ = (array(&bytes, 8, 1000), dictionary(&bytes, 1000), variant(&bytes), string(&bytes));
        }
    }

    #[test]
    fn the_widths_that_cve_2023_29499_confused_are_told_apart() {
        assert_eq!(array(&[0; 128], 1, 1000).unwrap().len(), 128);
        assert_eq!(array(&[0; 256], 1, 1000), Err(OstreeError::NotNormal));
    }
}
