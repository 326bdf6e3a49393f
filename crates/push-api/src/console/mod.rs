//! The console at `/admin/`: pages for operators, in the program itself. They call the same API as everybody else; who has
//! signed in there is known by a cookie.

mod cookie;
mod pages;
pub mod session;

pub use pages::routes;
