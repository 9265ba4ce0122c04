//! What replaces the module `etcd` in a program that was built without it.
//!
//! The compiler refuses a configuration with `etcd` there, so no plan names it; a plan that does is refused here.

use crate::ports::{Catalogue, CatalogueError};
use domain::plan;
use std::rc::Rc;

/// Whether this program was built with etcd.
pub const IS_BUILT_IN: bool = false;

/// Opens nothing.
///
/// # Errors
/// Always.
pub fn open(_: &plan::Etcd) -> Result<Rc<dyn Catalogue>, CatalogueError> {
    Err(CatalogueError::Failed(
        "this containerpilot was built without etcd".into(),
    ))
}
