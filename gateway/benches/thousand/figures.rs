//! Named figures of one program, and several programs side by side.

/// Figures in the order in which they were measured: name, unit, value.
#[derive(Default)]
pub struct Figures(Vec<(&'static str, &'static str, f64)>);

impl Figures {
    pub fn add(&mut self, name: &'static str, unit: &'static str, value: f64) {
        self.0.push((name, unit, value));
    }
}

/// One line a figure, one column a program, and the first as a multiple of the last.
pub fn print(measured: &[Figures]) {
    let Some(first) = measured.first() else { return };
    for (i, (name, unit, value)) in first.0.iter().enumerate() {
        let values: String = measured.iter().map(|f| format!(" {:>10.2}", f.0[i].2)).collect();
        let last = measured.last().map_or(*value, |f| f.0[i].2);
        let ratio = if measured.len() > 1 && last > 0.0 { format!("  {:.1}x", value / last) } else { String::new() };
        println!("{name:<44} {unit:<6}{values}{ratio}");
    }
}
