Feature: A.5 The device
  A t4g.nano: two virtual CPUs, 512 MB of memory of which the system can use 411 MiB, Ubuntu or Debian, Podman, crun
  and WasmEdge.

  @A5-1 @shared
  Scenario: The device has two CPUs and 512 MB
    Given the device
    Then it has 2 CPUs
    And its usable memory is at most 512 MiB

  @A5-1 @control
  Scenario: A machine with 1 GiB is told apart
    Given a machine with 1 GiB
    Then its usable memory is at most 512 MiB
    But the check says no because of "machine.memory"

  @A5-2 @shared
  Scenario: The device is an arm64 machine
    Given the device
    Then its architecture is "aarch64"

  @A5-2 @control
  Scenario: An amd64 machine is told apart
    Given an amd64 machine of the device's kind
    Then its architecture is "aarch64"
    But the check says no because of "x86_64"

  @A5-3
  Scenario: The newest Ubuntu 24.04 of Canonical is found and boots
    Given the newest Ubuntu 24.04 image for arm64 of owner "099720109477"
    Then the device has booted from it

  @A5-3 @control
  Scenario: An image that somebody else has given Canonical's name is not taken
    Given a newer image with the name of Ubuntu 24.04 for arm64, of owner "111122223333"
    Then the device has booted from it
    But the check says no because of "ami.owner"

  @A5-4 @shared
  Scenario: Podman is new enough
    Given the device
    Then its Podman is version 4.9 or newer

  @A5-5 @shared
  Scenario: crun is built with WasmEdge
    Given the device
    Then its crun has the feature "+WASM:wasmedge"

  @A5-5 @control
  Scenario: A runtime that knows no WebAssembly is told apart
    Given runc in place of crun
    Then its crun has the feature "+WASM:wasmedge"
    But the check says no because of "crun.features"

  @A5-6
  Scenario: Without the WasmEdge library the workload fails with the documented error
    Given a device without the WasmEdge library
    When the workload is run there by hand
    Then it fails
    And the error says "could not load libwasmedge.so.0"

  @A5-6 @control @shared
  Scenario: With the WasmEdge library it works
    Given a device with everything the annex installs
    When the workload is run there by hand
    Then it fails
    But the check says no because of "run.status"

  @A5-7
  Scenario: Without the crun-wasm link the workload fails
    Given a device without the crun-wasm link
    When the workload is run there by hand
    Then it fails

  @A5-7 @control @shared
  Scenario: With the crun-wasm link it works
    Given a device with everything the annex installs
    When the workload is run there by hand
    Then it fails
    But the check says no because of "run.status"

  @A5-8 @shared
  Scenario: The workload works on this device
    Given the device
    Then its usable memory is at most 512 MiB
    When the workload has run as the annex deploys it
    Then it ended with result "success"
    And its log has 5 readings

  @A5-8 @control
  Scenario: On a machine with 224 MiB the workload does not work
    Given a machine with 224 MiB
    Then its usable memory is at most 512 MiB
    When the workload has run there without a limit on CPU
    Then it ended with result "success"
    And its log has 5 readings
    But the check says no because of "for want of memory"
