@shared
Feature: A.7 What the workload uses
  Memory, CPU and time, read from the machine's control groups. Every run is kept. In the first run, no file of the
  workload is in the page cache; in the other runs, all of them are.

  @A7-1
  Scenario: Peak memory stays under 64 MB, even without a limit
    When the workload has run several times under its memory limit
    Then its peak memory is below 64 MiB
    And it never reached its memory limit
    When the workload has run without any limit
    Then its peak memory is below 64 MiB

  @A7-1 @control
  Scenario: A guest that uses 160 MiB is rejected
    When the guest "hog" has run without a CPU limit
    Then it never reached its memory limit
    But this check fails on "memory.events.max"

  @A7-2
  Scenario: Memory and headroom while the workload runs are reported
    When the workload has run as the annex deploys it
    Then its memory use while running is reported
    And its memory headroom while running is reported

  @A7-3
  Scenario: No swap is used
    When the workload has run as the annex deploys it
    Then it used no swap

  @A7-4
  Scenario: The memory is divided as the annex says
    When the workload has run several times under its memory limit
    Then the guest and its WasmEdge runtime use 12 MB to 15 MB
    And Podman's helper processes use 3 MB to 4 MB

  @A7-5
  Scenario: Most of the device's memory stays available
    When the workload has run as the annex deploys it
    Then 190 MiB to 512 MiB of memory stay available on the device

  @A7-5 @control
  Scenario: With a guest that uses all the memory it can get, less stays available
    When the guest "hog" has run without any limit
    Then 190 MiB to 512 MiB of memory stay available on the device
    But this check fails on "memory.available"

  @A7-6
  Scenario: The workload uses little CPU time
    When the workload has run several times under its memory limit
    Then its CPU time is at most 200 ms
    And its CPU time while it ran is reported

  @A7-6 @control
  Scenario: A guest that only computes uses more CPU time
    When the guest "spinner" has run for 6 s without a CPU limit
    Then its CPU time is at most 200 ms
    But this check fails on "cpu.time"

  @A7-7
  Scenario: The workload starts within two seconds
    When the workload has started 20 times as the annex deploys it
    Then its start takes at most 2 s
    When the workload has started 20 times without a CPU limit
    Then its start takes at most 2 s

  @A7-7 @control
  Scenario: A start that begins with a sleep of 3 s is rejected
    When the workload has run with a sleep of 3 s before its start
    Then its start takes at most 2 s
    But this check fails on "start.time"

  @A7-8
  Scenario: The duration of each step of the start is reported
    When the workload has started 20 times without a CPU limit
    Then the duration of each step of its start is reported

  @A7-9
  Scenario: The image is far smaller than those of conventional containers
    Given the image of the workload
    And the images of mosquitto and of Python for comparison
    Then the image is at least 170 times smaller than mosquitto's and 1400 times smaller than Python's

  @A7-9 @control
  Scenario: The workload's own image is rejected as a comparison
    Given the image of the workload
    And the workload's own image in place of both
    Then the image is at least 170 times smaller than mosquitto's and 1400 times smaller than Python's
    But this check fails on "ratio.image.size.python"
