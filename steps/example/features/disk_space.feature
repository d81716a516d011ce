Feature: A.1 Free disk space
  A machine needs free disk space for the images that its users pull.

  @A1-1
  Scenario: A fresh machine has free disk space
    Given a machine
    Then its disk has 2 GB to 4 GiB of free space

  @A1-1 @control
  Scenario: A machine whose disk is full is rejected
    Given a machine whose disk holds a file of 2 GB
    Then its disk has 2 GB to 4 GiB of free space
    But this check fails on "disk.free"
