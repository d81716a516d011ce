Feature: A.6 The workload is a service
  A Quadlet makes a user service of the image: no root, restarted on failure only, held to 64 MB and a tenth of a CPU.

  @A6-1 @shared
  Scenario: The Quadlet becomes a user service
    When the workload has run as the annex deploys it
    Then systemd has its unit "loaded"
    And its user is not root

  @A6-1 @control
  Scenario: A Quadlet with an unknown key becomes no service
    When a Quadlet with an unknown key is installed
    Then systemd has its unit "loaded"
    But the check says no because of "unit.load"

  @A6-2 @shared
  Scenario: The log shows the greeting, five readings and the completion
    When the workload has run as the annex deploys it
    Then its log has a greeting that says "from WebAssembly"
    And its log has 5 readings
    And the temperatures are "23 26 29 32 35"
    And the readings are 1.5 s to 2.5 s apart
    And its log has a completion that says "completed"

  @A6-2 @control
  Scenario: A log that lacks a reading is told apart
    When the guest "skips-a-reading" has run without a limit on CPU
    Then its log has 5 readings
    But the check says no because of "log.readings"

  @A6-3 @shared
  Scenario: The workload takes about ten seconds
    When the workload has run as the annex deploys it
    Then from its first line to its last it takes 10 s to 12 s, give or take 500 ms

  @A6-3 @control
  Scenario: A workload of five seconds is told apart
    When the guest "short" has run without a limit on CPU
    Then from its first line to its last it takes 10 s to 12 s, give or take 500 ms
    But the check says no because of "log.duration"

  @A6-4 @shared
  Scenario: The workload ends with exit code 0
    When the workload has run as the annex deploys it
    Then it ended with result "success"
    And it ended with exit code 0

  @A6-4 @control
  Scenario: A guest that exits with 7 does not end with exit code 0
    When the guest "exit-seven" has run without a limit on CPU
    Then it ended with exit code 0
    But the check says no because of "unit.status"

  @A6-4 @control @shared
  Scenario: A guest that traps does not end with exit code 0
    When the guest "trap" has ended 2 times
    Then it ended with exit code 0
    But the check says no because of "unit.status"

  @A6-5 @shared
  Scenario: The workload is not restarted after success
    When the workload has run as the annex deploys it
    Then it was restarted 0 times

  @A6-5 @control @shared
  Scenario: A guest that traps is restarted
    When the guest "trap" has ended 2 times
    Then it was restarted 0 times
    But the check says no because of "unit.restarts"

  @A6-6 @shared
  Scenario: 64 MB is a hard limit
    When the guest "hog" has run without a limit on CPU
    Then it was killed for want of memory
    And it never had more than 64 MiB

  @A6-6 @control @shared
  Scenario: Without the limit the same guest survives
    When the guest "hog" has run without any limit
    Then it was killed for want of memory
    But the check says no because of "memory.events.oom_kill"

  @A6-7
  Scenario: The workload gets a tenth of a CPU at most
    When the guest "spinner" has run for 12 s as the annex deploys it
    Then its share of a CPU is 5 % to 11 %

  @A6-7 @control @shared
  Scenario: Without the limit the same guest takes more
    When the guest "spinner" has run for 6 s without a limit on CPU
    Then its share of a CPU is 5 % to 11 %
    But the check says no because of "cpu.share"
