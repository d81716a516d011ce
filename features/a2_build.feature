Feature: A.2 The program is built for WebAssembly
  The annex's program is a few lines of Rust. Compiled for wasm32-wasip1 with the plain release profile, it becomes
  one small module that imports only the WASI interface from its host.

  @A2-1
  Scenario: The program builds from a clean tree
    When the guest "hello" is built from a clean tree
    Then the compiler exits with code 0
    And the build produces exactly 1 module
    And a second build produces the same module

  @A2-1 @control
  Scenario: A program with a compile error is rejected
    When the guest "compile-error" is built from a clean tree
    Then the compiler exits with code 0
    But this check fails on "build.status"

  @A2-2
  Scenario: The module is small
    Given the module of the workload
    Then the module is smaller than 100 kB

  @A2-2 @control
  Scenario: A padded module is rejected
    Given the module of the guest "padded"
    Then the module is smaller than 100 kB
    But this check fails on "module.size"

  @A2-3
  Scenario: The module is a plain WASI command
    Given the module of the workload
    Then it imports only from "wasi_snapshot_preview1"
    And it exports the function "_start"
    And it exports the memory "memory"

  @A2-3 @control
  Scenario: A module that imports from another namespace is rejected
    Given the module of the guest "foreign-import"
    Then it imports only from "wasi_snapshot_preview1"
    But this check fails on "module.imports"

  @A2-4
  Scenario: Time works under WASI, and the program tries to start a thread
    When the guest "capabilities" has run on the device with podman run
    Then its clock has advanced by 50 ms to 10 s
    And the result of its attempt to start a thread is reported
