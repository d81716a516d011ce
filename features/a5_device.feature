Feature: A.5 The device
  A t4g.nano: two virtual CPUs, 512 MB of memory of which the system can use 411 MiB, Ubuntu or Debian, Podman, crun
  and WasmEdge.

  @A5-1 @shared
  Scenario: The device has two CPUs and 512 MB
    Given the device
    Then it has 2 CPUs
    And its usable memory is at most 512 MiB

  @A5-1 @control
  Scenario: A machine with 1 GiB of memory is rejected
    Given a machine with 1 GiB of memory
    Then its usable memory is at most 512 MiB
    But this check fails on "machine.memory"

  @A5-2 @shared
  Scenario: The device is an arm64 machine
    Given the device
    Then its architecture is "aarch64"

  @A5-2 @control
  Scenario: An amd64 machine is rejected
    Given an amd64 machine of the device's type
    Then its architecture is "aarch64"
    But this check fails on "machine.architecture"

  @A5-3
  Scenario: Canonical's newest Ubuntu 24.04 is found and boots
    Given the newest Ubuntu 24.04 image for arm64 from owner "099720109477"
    Then the device has booted from this image

  @A5-3 @control
  Scenario: An image with Canonical's name from another owner is rejected
    Given a newer image with the name of Ubuntu 24.04 for arm64, from owner "111122223333"
    Then the device has booted from this image
    But this check fails on "ami.owner"

  @A5-4 @shared
  Scenario: Podman is new enough
    Given the device
    Then its Podman is version 4.9 or newer

  @A5-5 @shared
  Scenario: crun is built with WasmEdge
    Given the device
    Then its crun has the feature "+WASM:wasmedge"

  @A5-5 @control
  Scenario: A runtime without WebAssembly support is rejected
    Given runc in place of crun
    Then its crun has the feature "+WASM:wasmedge"
    But this check fails on "crun.features"

  @A5-6
  Scenario: Without the WasmEdge library the workload fails with the documented error
    Given a device without the WasmEdge library
    When the workload has run there with podman run
    Then podman run fails
    And its error message contains "could not load libwasmedge.so.0"

  @A5-6 @control @shared
  Scenario: With the WasmEdge library the workload works
    Given a device with everything that the annex installs
    When the workload has run there with podman run
    Then podman run fails
    But this check fails on "run.status"

  @A5-7
  Scenario: Without the crun-wasm link the workload fails
    Given a device without the crun-wasm link
    When the workload has run there with podman run
    Then podman run fails

  @A5-7 @control @shared
  Scenario: With the crun-wasm link the workload works
    Given a device with everything that the annex installs
    When the workload has run there with podman run
    Then podman run fails
    But this check fails on "run.status"

  @A5-8 @shared
  Scenario: The workload works on this device
    Given the device
    Then its usable memory is at most 512 MiB
    When the workload has run as the annex deploys it
    Then its result is "success"
    And its log has 5 readings

  @A5-8 @control
  Scenario: On a machine with 224 MiB of memory the workload does not work
    Given a machine with 224 MiB of memory
    Then its usable memory is at most 512 MiB
    When the workload has run there without a CPU limit
    Then its result is "success"
    And its log has 5 readings
    But this check fails on "unit.result"
