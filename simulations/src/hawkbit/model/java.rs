//! Hash codes and hash order as Java computes them: devices see both, in links and in the order of lists.

const TENANT: &str = "DEFAULT";

/// `String.hashCode`.
pub fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// Continues a hash code by one more part.
pub fn chain(hash: i32, part: i32) -> i32 {
    hash.wrapping_mul(31).wrapping_add(part)
}

/// The hash code of a row of Hawkbit's database: id, revision, class, tenant.
pub fn entity_hash(class: &str, id: u64, revision: u32) -> i32 {
    let id = (id ^ (id >> 32)) as u32;
    let class = string_hash(&format!("org.eclipse.hawkbit.repository.jpa.model.{class}"));
    let parts = [id.cast_signed(), revision.cast_signed(), class, string_hash(TENANT)];
    parts.into_iter().fold(1, chain)
}

/// Sorts as iteration over a `HashMap` or `HashSet` would give it after these insertions.
pub fn hash_order<T>(items: &mut [T], hash: impl Fn(&T) -> i32) {
    let mut buckets = 16_u32;
    while items.len() as u64 * 4 > u64::from(buckets) * 3 {
        buckets *= 2;
    }
    items.sort_by_key(|item| {
        let hash = hash(item).cast_unsigned();
        (hash ^ (hash >> 16)) & (buckets - 1)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        assert_eq!(string_hash("autostart"), "autostart".bytes().fold(0_i32, |h, b| chain(h, i32::from(b))));
        assert_eq!(string_hash("polygenelubricants"), i32::MIN);
        // The first link of the recording.
        assert_eq!(chain(entity_hash("JpaAction", 1, 1), 1237), 411_599_879);
    }

    #[test]
    fn metadata_come_in_the_order_of_the_recording() {
        let mut keys = ["rev", "autostart", "autoremove", "notify", "timeout"];
        hash_order(&mut keys, |k| string_hash(k));
        assert_eq!(keys, ["rev", "autoremove", "autostart", "notify", "timeout"]);
    }
}
