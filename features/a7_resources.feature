@shared
Feature: A.7 What the workload takes
  Memory, CPU and time, from the machine's own control groups. Every run is kept: the first with nothing of the
  workload in the page cache, the others with all of it.

  @A7-1
  Scenario: Peak memory stays under 64 MB, and not because the limit holds it there
    When the workload has run several times under its memory limit
    Then its peak memory is below 64 MiB
    And it never ran into its memory limit
    When the workload has run without any limit
    Then its peak memory is below 64 MiB

  @A7-1 @control
  Scenario: A guest that takes 160 MiB is told apart
    When the guest "hog" has run without a limit on CPU
    Then it never ran into its memory limit
    But the check says no because of "memory.events.max"

  @A7-2
  Scenario: Memory and headroom while the workload runs are reported
    When the workload has run as the annex deploys it
    Then its memory while running is reported
    And its headroom while running is reported

  @A7-3
  Scenario: No swap is used
    When the workload has run as the annex deploys it
    Then it used no swap

  @A7-4
  Scenario: The memory goes where the annex says
    When the workload has run several times under its memory limit
    Then the guest and its WasmEdge runtime take 12 MB to 15 MB
    And podman's helpers take 3 MB to 4 MB

  @A7-5
  Scenario: Most of the device's memory stays available
    When the workload has run as the annex deploys it
    Then 190 MiB to 512 MiB stay available on the device

  @A7-5 @control
  Scenario: With a guest that takes all it can get, less stays available
    When the guest "hog" has run without any limit
    Then 190 MiB to 512 MiB stay available on the device
    But the check says no because of "memory.available"

  @A7-6
  Scenario: The workload takes little CPU time
    When the workload has run as the annex deploys it
    Then its CPU time is at most 200 ms

  @A7-6 @control
  Scenario: A guest that only computes takes more CPU time
    When the guest "spinner" has run for 6 s without a limit on CPU
    Then its CPU time is at most 200 ms
    But the check says no because of "cpu.time"

  @A7-7
  Scenario: The workload starts within two seconds
    When the workload has run as the annex deploys it
    Then its start takes at most 2 s

  @A7-7 @control
  Scenario: A start that begins with a sleep of 3 s is told apart
    When the workload has run with a sleep of 3 s before its start
    Then its start takes at most 2 s
    But the check says no because of "start.time"

  @A7-8
  Scenario: Where the time of the start goes is reported
    When the workload has run as the annex deploys it
    Then the steps of its start are reported

  @A7-9
  Scenario: The image is far smaller than those of conventional containers
    Given the image of the workload
    And images of mosquitto and of Python beside it
    Then it is 170 times smaller than mosquitto's and 1400 times smaller than Python's

  @A7-9 @control
  Scenario: The image is no smaller than itself
    Given the image of the workload
    And its own image in the place of both
    Then it is 170 times smaller than mosquitto's and 1400 times smaller than Python's
    But the check says no because of "ratio.image.size"
