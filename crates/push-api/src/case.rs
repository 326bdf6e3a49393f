//! Paths without regard to case: `/api/push/sendtocustomer` means `/api/Push/sendToCustomer`.
//!
//! The table is made of the OpenAPI document's paths, so that an endpoint needs no entry here. Only
//! the fixed segments are rewritten; ids and the query stay as they were sent.

use std::sync::Arc;

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// The canonical spelling of every path.
#[derive(Clone, Debug)]
pub struct CanonicalPaths(Arc<[Template]>);

#[derive(Debug)]
struct Template(Vec<Segment>);

#[derive(Debug)]
enum Segment {
    Fixed(String),
    Parameter,
}

impl Template {
    fn parse(path: &str) -> Self {
        let segment = |text: &str| {
            if text.starts_with('{') {
                Segment::Parameter
            } else {
                Segment::Fixed(text.to_owned())
            }
        };
        Self(path.split('/').map(segment).collect())
    }

    fn matches(&self, path: &str) -> bool {
        let mut parts = path.split('/');
        let alike = self.0.iter().all(|segment| {
            parts.next().is_some_and(|part| match segment {
                Segment::Fixed(name) => name.eq_ignore_ascii_case(part),
                Segment::Parameter => !part.is_empty(),
            })
        });
        alike && parts.next().is_none()
    }

    fn spell(&self, path: &str) -> String {
        let parts: Vec<&str> = self
            .0
            .iter()
            .zip(path.split('/'))
            .map(|(segment, part)| match segment {
                Segment::Fixed(name) => name,
                Segment::Parameter => part,
            })
            .collect();
        parts.join("/")
    }

    /// Sorts before others what has its first parameter later: `/a/b` is meant before `/a/{id}`.
    fn rank(&self) -> Vec<bool> {
        self.0
            .iter()
            .map(|segment| matches!(segment, Segment::Parameter))
            .collect()
    }
}

impl CanonicalPaths {
    /// The table for these path templates, with parameters in braces.
    pub fn new<'a>(templates: impl IntoIterator<Item = &'a str>) -> Self {
        let mut templates: Vec<Template> = templates.into_iter().map(Template::parse).collect();
        templates.sort_by_key(Template::rank);
        Self(templates.into())
    }

    /// The address as the router knows it; unchanged if there is no such path.
    #[must_use]
    pub fn canonical(&self, uri: Uri) -> Uri {
        let Some(template) = self.0.iter().find(|template| template.matches(uri.path())) else {
            return uri;
        };
        let mut spelled = template.spell(uri.path());
        if spelled == uri.path() {
            return uri;
        }
        if let Some(query) = uri.query() {
            spelled.push('?');
            spelled.push_str(query);
        }
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(spelled).ok();
        Uri::from_parts(parts).unwrap_or(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_segments_are_respelled_and_ids_are_not() {
        let paths = CanonicalPaths::new([
            "/api/Push/admin/deadLetters/{id}",
            "/api/Push/admin/deadLetters/replay",
            "/api/Push/sendToCustomer",
            "/api/Push/notifications/{notificationId}",
            "/healthz",
        ]);
        for (sent, meant) in [
            ("/api/push/sendtocustomer", "/api/Push/sendToCustomer"),
            (
                "/API/PUSH/SENDTOCUSTOMER?A=b",
                "/api/Push/sendToCustomer?A=b",
            ),
            ("/api/Push/sendToCustomer", "/api/Push/sendToCustomer"),
            ("/api/push/Notifications/AbC", "/api/Push/notifications/AbC"),
            (
                "/api/push/Notifications/%C3%A4B",
                "/api/Push/notifications/%C3%A4B",
            ),
            (
                "/api/push/ADMIN/deadletters/REPLAY",
                "/api/Push/admin/deadLetters/replay",
            ),
            (
                "/api/push/ADMIN/deadletters/REPLAYS",
                "/api/Push/admin/deadLetters/REPLAYS",
            ),
            ("/HEALTHZ", "/healthz"),
            // No such paths.
            ("/api/push/notifications/", "/api/push/notifications/"),
            ("/api/push/sendtocustomer/", "/api/push/sendtocustomer/"),
            ("/api/push", "/api/push"),
            ("/", "/"),
            ("*", "*"),
            ("http://host/HealthZ", "http://host/healthz"),
        ] {
            let canonical = paths.canonical(sent.parse().unwrap());
            assert_eq!(
                canonical.to_string(),
                meant.parse::<Uri>().unwrap().to_string(),
                "{sent}"
            );
        }
    }
}
