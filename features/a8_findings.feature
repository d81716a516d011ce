@shared
Feature: A.8 The annex's findings
  What the annex concludes from its figures: how much less the workload uses than a conventional container doing the
  same job, and what the test costs.

  @A8-1
  Scenario: The workload uses less memory than a conventional container
    When the workload and a conventional container have run side by side
    Then the workload uses at least 3 times less memory

  @A8-1 @control
  Scenario: The workload is rejected as its own comparison
    When the workload has run side by side with itself
    Then the workload uses at least 3 times less memory
    But this check fails on "ratio.memory.peak"

  @A8-2
  Scenario: The workload starts faster than a conventional container
    When the workload and a conventional container have run in pairs
    Then the workload starts at least 2 times faster

  @A8-2
  Scenario: The workload starts faster than the same program built natively
    When the workload and the same program built natively have run in pairs
    Then the workload starts at least 2 times faster

  @A8-2 @control
  Scenario: The workload does not start faster than itself
    When the workload has run in pairs with itself
    Then the workload starts at least 2 times faster
    But this check fails on "ratio.start.time"

  @A8-3
  Scenario: The workload uses less CPU time than a conventional container
    When the workload and a conventional container have run in pairs
    Then the workload uses at least 3 times less CPU time

  @A8-3
  Scenario: The workload uses less CPU time than the same program built natively
    When the workload and the same program built natively have run in pairs
    Then the workload uses at least 3 times less CPU time

  @A8-3 @control
  Scenario: The workload does not use less CPU time than itself
    When the workload has run in pairs with itself
    Then the workload uses at least 3 times less CPU time
    But this check fails on "ratio.cpu.time"

  @A8-4
  Scenario: The annex's own arithmetic is right
    Then the annex's derived figures follow from its published figures:
      | derived                       | from                     | as        | published |
      | peak below the limit          |         17.8 MB of 64 MB | saving    |      72 % |
      | peak of the limit             |         17.8 MB of 64 MB | share     |    27.8 % |
      | peak of what is available     |        17.8 MB of 215 MB | share     |     8.3 % |
      | headroom under the limit      |         17.8 MB of 64 MB | remainder |   46.2 MB |
      | headroom while running        | 18075648 B of 67108864 B | remainder |  46.7 MiB |
      | left for others               |        17.8 MB of 215 MB | remainder |    197 MB |
      | an image of 50 MB against it  |         89.5 kB of 50 MB | times     |       500 |
      | an image of 500 MB against it |        89.5 kB of 500 MB | times     |      5000 |
      | mosquitto's image against it  |       89.5 kB of 15.2 MB | times     |       170 |
      | Python's image against it     |        89.5 kB of 125 MB | times     |      1400 |
      | memory of 50 MB against it    |         17.8 MB of 50 MB | times     |         3 |
      | memory of 200 MB against it   |        17.8 MB of 200 MB | times     |        11 |
      | a start of 2 s against it     |             1.1 s of 2 s | times     |         2 |
      | a start of 5 s against it     |             1.1 s of 5 s | times     |         5 |
      |      200 ms of CPU against it |        79.1 ms of 200 ms | times     |         3 |
      |      500 ms of CPU against it |        79.1 ms of 500 ms | times     |         6 |

  @A8-4 @control
  Scenario: A wrong figure is rejected
    Then the annex's derived figures follow from its published figures:
      | derived              | from             | as     | published |
      | peak below the limit | 17.8 MB of 64 MB | saving |      82 % |
    But this check fails on "arithmetic: peak below the limit"

  @A8-6
  Scenario: The workload hardly uses the disk
    When the workload has run with warm caches
    Then it reads and writes at most 1 MiB on disk
    When the workload has run with cold caches
    Then its use of the disk is reported
    When a conventional container has run with warm caches
    Then its use of the disk is reported
    When a conventional container has run with cold caches
    Then its use of the disk is reported

  @A8-6 @control
  Scenario: A guest that reads a file of 64 MiB is rejected
    When a guest has read a file of 64 MiB that is not in the page cache
    Then it reads and writes at most 1 MiB on disk
    But this check fails on "io.read"

  @A8-7
  Scenario: The workload is pulled and started sooner than a conventional container
    When the workload and a conventional container have been pulled and started in pairs
    Then the workload is there and started at least 2 times sooner

  @A8-7 @control
  Scenario: The workload is not pulled and started sooner than itself
    When the workload has been pulled and started in pairs with itself
    Then the workload is there and started at least 2 times sooner
    But this check fails on "ratio.cold.start"

  @A8-8
  Scenario: The sandbox isolates the workload
    When a guest has looked for what is the host's
    Then it has found no file, directory, socket or variable of the host

  @A8-8 @control
  Scenario Outline: A guest that is given the host's <given> finds it
    When a guest has looked for what is the host's, given its <given>
    Then it has found no file, directory, socket or variable of the host

    Examples:
      | given       | this check fails on |
      | file        | sandbox.file        |
      | directory   | sandbox.directory   |
      | socket      | sandbox.socket      |
      | environment | sandbox.environment |

  @A8-9
  Scenario: Less than 1 MB is pulled
    When the image of the workload has been pulled once
    Then the registry has served less than 1 MB

  @A8-9 @control
  Scenario: A conventional image is rejected
    When the image of a conventional container has been pulled once
    Then the registry has served less than 1 MB
    But this check fails on "pull.served"

  @A8-5 @last
  Scenario: The test costs less than a cent
    When the run's bill has been calculated
    Then the run costs less than $0.01
