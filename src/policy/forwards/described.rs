//! Forward rules in words, for explanations. What they mean is judged elsewhere.

use std::fmt::Display;

use super::ForwardRules;

impl ForwardRules {
    /// One line for each direction that is open: `to 10.0.0.0/8:443`. With several layers, each must allow.
    pub fn described(&self) -> Vec<String> {
        let layers = &self.layers;
        let lines = [
            ("connections to", joined(layers.iter().map(|layer| layer.local.as_slice()))),
            ("listening on", joined(layers.iter().map(|layer| layer.remote.as_slice()))),
            ("connections to sockets", joined(layers.iter().map(|layer| layer.local_sockets.as_slice()))),
            ("listening on sockets", joined(layers.iter().map(|layer| layer.remote_sockets.as_slice()))),
        ];
        lines.into_iter().filter_map(|(what, rules)| Some(format!("{what} {}", rules?))).collect()
    }
}

/// None where a layer opens nothing, or there is none.
fn joined<'r, T: Display + 'r>(layers: impl Iterator<Item = &'r [T]>) -> Option<String> {
    let layer = |rules: &[T]| {
        (!rules.is_empty()).then(|| rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    };
    let layers: Vec<String> = layers.map(layer).collect::<Option<_>>()?;
    (!layers.is_empty()).then(|| layers.join(" within "))
}
