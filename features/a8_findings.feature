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
    When the workload and a conventional container have run side by side
    Then the workload starts at least 2 times faster

  @A8-3
  Scenario: The workload uses less CPU time than a conventional container
    When the workload and a conventional container have run side by side
    Then the workload uses at least 3 times less CPU time

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

  @A8-5 @last
  Scenario: The test costs less than a cent
    When the run's bill has been calculated
    Then the run costs less than $0.01
