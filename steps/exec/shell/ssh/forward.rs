//! Forwards ports of a remote machine to this host, and reconnects with the same ports when the connection is lost.

use std::sync::Arc;
use std::time::Duration;

use super::{Foreign, Ssh, Wire};
use crate::exec::shell::ShellError;

const LOOPBACK: &str = "127.0.0.1";
/// How often to ask for the old port: the sshd of a lost connection holds it until it notices the loss.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(500);

impl Ssh {
    /// Forwards a port of the machine's loopback to `local` (`127.0.0.1:PORT`) on this host and returns that port.
    /// After a reconnect, the same port is forwarded again.
    pub async fn forward_back(&self, local: &str) -> Result<u16, ShellError> {
        let Some(foreign) = &self.foreign else {
            return Err(self.no_forward(local, "it is a machine of our own, which has other ways here".to_owned()));
        };
        let wire = self.wire.lock().await.clone();
        let port = match wire.handle.tcpip_forward(LOOPBACK, 0).await {
            Err(error) if !matches!(error, russh::Error::RequestDenied) => {
                self.again(foreign, &wire).await?.handle.tcpip_forward(LOOPBACK, 0).await
            }
            answer => answer,
        };
        let port = port.map_err(|error| self.no_forward(local, error.to_string()))?;
        foreign.route.forwards.add(port, local);
        u16::try_from(port).map_err(|error| self.no_forward(local, error.to_string()))
    }

    fn no_forward(&self, local: &str, detail: String) -> ShellError {
        ShellError::NoForward { machine: self.machine.clone(), local: local.to_owned(), detail }
    }

    /// Returns the connection that replaces a lost one. The first caller to notice the loss reconnects with all ports.
    pub(super) async fn again(&self, foreign: &Foreign, lost: &Arc<Wire>) -> Result<Arc<Wire>, ShellError> {
        let mut current = self.wire.lock().await;
        if !Arc::ptr_eq(&current, lost) {
            return Ok(current.clone());
        }
        let wire = foreign.route.go().await.map_err(|error| ShellError::NoConnection {
            machine: self.machine.clone(),
            address: foreign.route.address(),
            detail: format!("it was lost, and cannot be made again: {error}"),
        })?;
        for (port, local) in foreign.route.forwards.all() {
            self.same_port(&wire, port, &local).await?;
        }
        *current = Arc::new(wire);
        Ok(current.clone())
    }

    async fn same_port(&self, wire: &Wire, port: u32, local: &str) -> Result<(), ShellError> {
        let mut tries = 1;
        loop {
            match wire.handle.tcpip_forward(LOOPBACK, port).await {
                Ok(_) => return Ok(()),
                Err(russh::Error::RequestDenied) if tries < TRIES => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    return Err(self.no_forward(
                        local,
                        format!("port {port} cannot be had again after the connection was lost ({error})"),
                    ));
                }
            }
            tries += 1;
        }
    }
}
