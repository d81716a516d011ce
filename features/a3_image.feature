Feature: A.3 The program is packaged as an OCI image
  The image declares that it is WebAssembly, and it contains the module and nothing else: no base image, no
  userland.

  @A3-1
  Scenario: The image is for the platform wasi/wasm
    Given the image of the workload
    Then its platform is "wasi/wasm"

  @A3-1 @control
  Scenario: An image for linux/amd64 is rejected
    Given an image of the guest "hello" for the platform "linux/amd64"
    Then its platform is "wasi/wasm"
    But this check fails on "image.platform"

  @A3-2
  Scenario: The manifest carries the annotation that the runtime looks for
    Given the image of the workload
    Then its annotation "module.wasm.image/variant" is "compat"

  @A3-2 @control
  Scenario: An image without the annotation is rejected
    Given an image of the guest "hello" without annotations
    Then its annotation "module.wasm.image/variant" is "compat"
    But this check fails on "image.annotation.module.wasm.image/variant"

  @A3-3
  Scenario: The image contains the module and nothing else
    Given the image of the workload
    Then it has 1 layer
    And it contains 1 file
    And it has no base image
    And its entrypoint is that file

  @A3-3 @control
  Scenario: An image with a second file is rejected
    Given an image of the guest "hello" with a second file
    Then it contains 1 file
    But this check fails on "image.files"

  @A3-4
  Scenario: The image is under 100 kB
    Given the image of the workload
    Then its size as listed by Podman is below 100 kB
    And its transfer size is reported

  @A3-4 @control
  Scenario: An image of 101 kB is rejected
    Given an image of the guest "padded"
    Then its size as listed by Podman is below 100 kB
    But this check fails on "image.size"
