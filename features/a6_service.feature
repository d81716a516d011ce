Feature: A.6 The workload is a service
  A Quadlet turns the image into a user service: no root, restarted only on failure, limited to 64 MB and 10 % of a CPU.

  @A6-1 @shared
  Scenario: The Quadlet becomes a user service
    When the workload has run as the annex deploys it
    Then systemd reports its unit as "loaded"
    And its user is not root

  @A6-1 @control
  Scenario: A Quadlet with an unknown key is rejected
    When a Quadlet with an unknown key is installed
    Then systemd reports its unit as "loaded"
    But this check fails on "unit.load"

  @A6-2 @shared
  Scenario: The log shows the greeting, five readings and the completion message
    When the workload has run as the annex deploys it
    Then its log has a greeting that contains "from WebAssembly"
    And its log has 5 readings
    And the temperatures are "23 26 29 32 35"
    And the readings are 1.5 s to 2.5 s apart
    And its log has a completion message that contains "completed"

  @A6-2 @control
  Scenario: A log that lacks a reading is rejected
    When the guest "skips-a-reading" has run without a CPU limit
    Then its log has 5 readings
    But this check fails on "log.readings"

  @A6-3 @shared
  Scenario: The workload takes about ten seconds
    When the workload has run as the annex deploys it
    Then the time from its first log line to its last is 10 s to 12 s, give or take 500 ms

  @A6-3 @control
  Scenario: A workload that takes five seconds is rejected
    When the guest "short" has run without a CPU limit
    Then the time from its first log line to its last is 10 s to 12 s, give or take 500 ms
    But this check fails on "log.duration"

  @A6-4 @shared
  Scenario: The workload exits with code 0
    When the workload has run as the annex deploys it
    Then its result is "success"
    And its exit code is 0

  @A6-4 @control
  Scenario: A guest that exits with code 7 is rejected
    When the guest "exit-seven" has run without a CPU limit
    Then its exit code is 0
    But this check fails on "unit.status"

  @A6-4 @control @shared
  Scenario: A guest that traps is rejected
    When the guest "trap" has ended 2 times
    Then its exit code is 0
    But this check fails on "unit.status"

  @A6-5 @shared
  Scenario: The workload is not restarted after success
    When the workload has run as the annex deploys it
    Then it was restarted 0 times

  @A6-5 @control @shared
  Scenario: A guest that traps is restarted
    When the guest "trap" has ended 2 times
    Then it was restarted 0 times
    But this check fails on "unit.restarts"

  @A6-6 @shared
  Scenario: 64 MB is a hard limit
    When the guest "hog" has run without a CPU limit
    Then it was killed because it ran out of memory
    And it never used more than 64 MiB of memory

  @A6-6 @control @shared
  Scenario: Without the limit the same guest survives
    When the guest "hog" has run without any limit
    Then it was killed because it ran out of memory
    But this check fails on "memory.events.oom_kill"

  @A6-7
  Scenario: The workload gets at most a tenth of a CPU
    When the guest "spinner" has run for 12 s as the annex deploys it
    Then its share of a CPU is 5 % to 11 %

  @A6-7 @control @shared
  Scenario: Without the limit the same guest uses more
    When the guest "spinner" has run for 6 s without a CPU limit
    Then its share of a CPU is 5 % to 11 %
    But this check fails on "cpu.share"
