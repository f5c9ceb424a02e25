//! Which layers a sequence goes through: decided when its prompt is prefilled, the same for all of
//! its tokens. Sequences share keys and values only where their routes are equal.

mod all;

pub(crate) use all::All;

/// Chooses the layers of a prompt.
pub(crate) trait Router {
    /// Whether the prompt `ids` goes through `layer`.
    fn decide(&self, layer: usize, ids: &[u32]) -> bool;

    /// The route of the prompt `ids` through a model of so many layers.
    fn route(&self, layers: usize, ids: &[u32]) -> Route {
        let mut route = Route::default();
        for layer in (0..layers).filter(|layer| !self.decide(*layer, ids)) {
            route.left_out.resize(layer / 64 + 1, 0);
            route.left_out[layer / 64] |= 1 << (layer % 64);
        }
        route
    }
}

/// A set of layers; all of them unless a [`Router`] left some out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// A bit for each layer that is left out, up to the last of them.
    left_out: Vec<u64>,
}

impl Route {
    /// Whether `layer` is computed.
    pub(crate) fn takes(&self, layer: usize) -> bool {
        self.left_out.get(layer / 64).is_none_or(|bits| bits >> (layer % 64) & 1 == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Without(&'static [usize]);

    impl Router for Without {
        fn decide(&self, layer: usize, _: &[u32]) -> bool {
            !self.0.contains(&layer)
        }
    }

    #[test]
    fn a_route_takes_what_the_router_says() {
        for left_out in [&[][..], &[0], &[1, 63, 64, 199], &[127, 128]] {
            let route = Without(left_out).route(200, &[1]);
            for layer in 0..200 {
                assert_eq!(route.takes(layer), !left_out.contains(&layer), "{left_out:?} {layer}");
            }
            assert_eq!(route == All.route(200, &[1]), left_out.is_empty());
        }
    }
}
