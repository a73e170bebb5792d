//! Routes and endpoints from the Kubernetes API.
//!
//! Two watches: the claims of hosts become routes, EndpointSlices become endpoints. Each keeps just
//! enough to know what an event changes, touches one function per event, and hands the whole truth
//! to its sink after every list. An API server that cannot be reached changes nothing: the last
//! snapshot keeps serving while the watch retries. Nothing here ever writes to the cluster.

mod claims;
mod endpoints;
mod fleet;
mod routes;
mod slices;
mod watch;

pub use claims::ClaimRoutes;
pub use endpoints::FunctionEndpoints;
pub use fleet::ServiceFleet;
pub use routes::{FunctionRoutes, HostRule};
