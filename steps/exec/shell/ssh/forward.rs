//! Ports of somebody else's machine that lead back to this host, and the connection that carries them when it is made anew.

use std::sync::Arc;
use std::time::Duration;

use super::{Foreign, Ssh, Wire};
use crate::exec::shell::ShellError;

/// The loopback address there.
const LOOPBACK: &str = "127.0.0.1";
/// The sshd of a lost connection holds its port until it has noticed, too.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(500);

impl Ssh {
    /// Has a port of the machine's own loopback carry connections to `local` (`127.0.0.1:PORT`) on this host, and gives
    /// that port. It is set up anew, as the same port, when the connection was lost and is made again.
    ///
    /// # Errors
    /// The machine's sshd forwards nothing, or the connection is lost.
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

    /// The connection that follows a lost one: whoever finds it lost first makes it, with all its ports.
    ///
    /// # Errors
    /// The machine cannot be entered again, shows another host key, or gives a port no more.
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
